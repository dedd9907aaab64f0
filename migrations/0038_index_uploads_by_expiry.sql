CREATE INDEX ASYNC IF NOT EXISTS uploads_expiry ON chats.uploads (expires_at)
