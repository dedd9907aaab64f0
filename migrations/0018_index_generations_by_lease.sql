CREATE INDEX ASYNC IF NOT EXISTS generations_lease ON generations (lease_until)
