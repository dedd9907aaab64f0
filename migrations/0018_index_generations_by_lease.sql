CREATE INDEX ASYNC IF NOT EXISTS generations_lease ON chats.generations (lease_until)
