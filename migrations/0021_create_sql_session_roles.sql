CREATE TABLE IF NOT EXISTS chats.sql_session_roles (
    arn text PRIMARY KEY,
    free_from timestamptz NOT NULL
)
