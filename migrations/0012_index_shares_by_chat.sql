CREATE INDEX ASYNC IF NOT EXISTS shares_chat ON shares (chat_id)
