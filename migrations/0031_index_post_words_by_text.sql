CREATE INDEX ASYNC IF NOT EXISTS post_words_text ON chats.post_words (text_id)
