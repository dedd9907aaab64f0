CREATE INDEX ASYNC IF NOT EXISTS chats_owner_archived ON chats.chats (owner_id, archived, updated_at, id)
