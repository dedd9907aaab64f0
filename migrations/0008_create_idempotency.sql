CREATE TABLE IF NOT EXISTS chats.idempotency (
    owner_id text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer NOT NULL,
    response text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, key)
)
