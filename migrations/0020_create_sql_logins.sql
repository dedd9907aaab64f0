CREATE TABLE IF NOT EXISTS chats.sql_logins (
    name text PRIMARY KEY,
    password_hash text NOT NULL,
    previous_hash text,
    previous_until timestamptz,
    created_at timestamptz NOT NULL,
    rotated_at timestamptz,
    access text NOT NULL,
    schemas text NOT NULL,
    state text NOT NULL,
    generation text NOT NULL
)
