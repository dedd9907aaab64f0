CREATE TABLE IF NOT EXISTS chats.uploads (
    id text PRIMARY KEY,
    owner_id text NOT NULL,
    media_type text NOT NULL,
    size bigint NOT NULL,
    filename text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL
)
