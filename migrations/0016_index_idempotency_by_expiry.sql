CREATE INDEX ASYNC IF NOT EXISTS idempotency_expiry ON chats.idempotency (expires_at)
