DROP INDEX IF EXISTS chats.chats_owner
