CREATE TABLE IF NOT EXISTS chats.post_words (
    word text NOT NULL,
    text_id text NOT NULL,
    n integer NOT NULL,
    times integer NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (word, text_id, n)
)
