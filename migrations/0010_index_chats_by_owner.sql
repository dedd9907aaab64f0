CREATE INDEX ASYNC IF NOT EXISTS chats_owner ON chats (owner_id, updated_at, id)
