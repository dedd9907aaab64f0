CREATE INDEX ASYNC IF NOT EXISTS shares_expiry ON shares (expires_at)
