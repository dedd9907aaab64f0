CREATE INDEX ASYNC IF NOT EXISTS chats_public_id ON chats.chats (public_id, owner_id)
