CREATE TABLE IF NOT EXISTS chats.rate_buckets (
    key text NOT NULL,
    window_start timestamptz NOT NULL,
    n bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (key, window_start)
)
