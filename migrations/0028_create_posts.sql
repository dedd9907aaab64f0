CREATE TABLE IF NOT EXISTS chats.posts (
    id text PRIMARY KEY,
    url text NOT NULL,
    title text NOT NULL,
    stamp text,
    etag text,
    last_modified text,
    digest text,
    text_id text,
    leftover_id text,
    passages integer NOT NULL,
    words bigint NOT NULL,
    check_at timestamptz NOT NULL
)
