CREATE INDEX ASYNC IF NOT EXISTS chats_expiry ON chats.chats (expires_at)
