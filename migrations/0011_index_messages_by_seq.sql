CREATE INDEX ASYNC IF NOT EXISTS messages_seq ON chats.messages (chat_id, seq)
