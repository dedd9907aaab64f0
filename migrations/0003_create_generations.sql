CREATE TABLE IF NOT EXISTS chats.generations (
    chat_id text PRIMARY KEY,
    message_id text NOT NULL,
    stream_id text NOT NULL,
    owner_id text NOT NULL,
    lease_until timestamptz NOT NULL
)
