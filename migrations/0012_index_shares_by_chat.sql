CREATE INDEX ASYNC IF NOT EXISTS shares_chat ON chats.shares (chat_id)
