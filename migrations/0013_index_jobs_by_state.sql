CREATE INDEX ASYNC IF NOT EXISTS jobs_state ON jobs (state, run_after)
