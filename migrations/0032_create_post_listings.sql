CREATE TABLE IF NOT EXISTS chats.post_listings (
    id text PRIMARY KEY,
    url text NOT NULL,
    etag text,
    last_modified text,
    passages bigint NOT NULL,
    words bigint NOT NULL,
    run_id text NOT NULL,
    lease_until timestamptz NOT NULL
)
