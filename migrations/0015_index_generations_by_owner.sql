CREATE INDEX ASYNC IF NOT EXISTS generations_owner ON chats.generations (owner_id, lease_until)
