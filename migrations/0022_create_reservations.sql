CREATE TABLE IF NOT EXISTS chats.reservations (
    id text PRIMARY KEY,
    tokens bigint NOT NULL,
    day timestamptz NOT NULL,
    owner_key text NOT NULL,
    address_key text,
    deployment_key text NOT NULL,
    expires_at timestamptz NOT NULL
)
