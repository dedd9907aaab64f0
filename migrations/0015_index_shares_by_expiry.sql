CREATE INDEX ASYNC IF NOT EXISTS shares_expiry ON chats.shares (expires_at)
