CREATE INDEX ASYNC IF NOT EXISTS idempotency_expiry ON idempotency (expires_at)
