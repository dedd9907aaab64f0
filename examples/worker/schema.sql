-- One statement after the other, each in a request of its own: DSQL takes one DDL statement a transaction.

CREATE TABLE IF NOT EXISTS reactions (
    post text NOT NULL,
    visitor text NOT NULL,
    kind text NOT NULL,
    made timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (post, visitor, kind)
);

-- Stored by post and time, so that a page of comments is one range.
CREATE TABLE IF NOT EXISTS comments (
    post text NOT NULL,
    made timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    visitor text NOT NULL,
    author text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (post, made, id)
);
