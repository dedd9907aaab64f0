CREATE INDEX ASYNC IF NOT EXISTS reservations_expiry ON chats.reservations (expires_at)
