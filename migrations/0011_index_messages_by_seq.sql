CREATE INDEX ASYNC IF NOT EXISTS messages_seq ON messages (chat_id, seq)
