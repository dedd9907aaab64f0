CREATE TABLE IF NOT EXISTS chats.post_passages (
    text_id text NOT NULL,
    n integer NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (text_id, n)
)
