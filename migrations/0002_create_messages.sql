CREATE TABLE IF NOT EXISTS chats.messages (
    chat_id text NOT NULL,
    id text NOT NULL,
    seq bigint NOT NULL,
    parent_id text,
    aside_since timestamptz,
    role text NOT NULL,
    parts text NOT NULL,
    metadata text,
    status text NOT NULL,
    finish_reason text,
    model text,
    input_tokens bigint,
    output_tokens bigint,
    checkpoint_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (chat_id, id)
)
