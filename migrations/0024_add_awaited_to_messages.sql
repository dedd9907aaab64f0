ALTER TABLE chats.messages ADD COLUMN IF NOT EXISTS awaited_at timestamptz
