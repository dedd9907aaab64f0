CREATE INDEX ASYNC IF NOT EXISTS rate_buckets_expiry ON chats.rate_buckets (expires_at)
