CREATE INDEX ASYNC IF NOT EXISTS posts_text ON chats.posts (text_id)
