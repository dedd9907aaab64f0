ALTER TABLE chats.chats ADD COLUMN IF NOT EXISTS title_folded text
