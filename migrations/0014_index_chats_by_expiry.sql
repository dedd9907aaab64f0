CREATE INDEX ASYNC IF NOT EXISTS chats_expiry ON chats (expires_at)
