CREATE TABLE IF NOT EXISTS chats.chat_uploads (
    chat_id text NOT NULL,
    upload_id text NOT NULL,
    PRIMARY KEY (chat_id, upload_id)
)
