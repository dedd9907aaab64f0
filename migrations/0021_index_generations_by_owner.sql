CREATE INDEX ASYNC IF NOT EXISTS generations_owner ON generations (owner_id, lease_until)
