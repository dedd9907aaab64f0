CREATE TABLE IF NOT EXISTS chats.chats (
    id text PRIMARY KEY,
    owner_id text NOT NULL,
    title text NOT NULL,
    visibility text NOT NULL,
    pinned boolean NOT NULL,
    archived boolean NOT NULL,
    next_seq bigint NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
