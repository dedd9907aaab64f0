CREATE TABLE IF NOT EXISTS chats.votes (
    chat_id text NOT NULL,
    message_id text NOT NULL,
    owner_id text NOT NULL,
    is_upvoted boolean NOT NULL,
    comment text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (chat_id, message_id)
)
