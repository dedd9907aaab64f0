CREATE INDEX ASYNC IF NOT EXISTS chats_owner ON chats.chats (owner_id, archived, updated_at, id)
