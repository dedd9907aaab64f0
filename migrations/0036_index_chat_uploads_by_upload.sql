CREATE INDEX ASYNC IF NOT EXISTS chat_uploads_upload ON chats.chat_uploads (upload_id)
