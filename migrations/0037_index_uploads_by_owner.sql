CREATE INDEX ASYNC IF NOT EXISTS uploads_owner ON chats.uploads (owner_id, created_at)
