CREATE TABLE IF NOT EXISTS chats.shares (
    token_hash text PRIMARY KEY,
    chat_id text NOT NULL,
    snapshot text NOT NULL,
    created_at timestamptz NOT NULL
)
