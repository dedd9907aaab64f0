CREATE TABLE IF NOT EXISTS chats.usage_daily (
    owner_id text NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    PRIMARY KEY (owner_id, day, model)
)
