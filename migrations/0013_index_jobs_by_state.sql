CREATE INDEX ASYNC IF NOT EXISTS jobs_state ON chats.jobs (state, run_after)
