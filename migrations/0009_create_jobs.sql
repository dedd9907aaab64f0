CREATE TABLE IF NOT EXISTS chats.jobs (
    id text PRIMARY KEY,
    kind text NOT NULL,
    payload text NOT NULL,
    state text NOT NULL,
    cursor text,
    result text,
    attempts integer NOT NULL,
    run_after timestamptz NOT NULL,
    created_at timestamptz NOT NULL
)
