ALTER TABLE chats.chats ADD COLUMN IF NOT EXISTS public_id text
