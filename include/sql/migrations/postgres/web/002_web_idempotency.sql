-- Purpose: the answers to requests that bore an Idempotency-Key, so that a repeat gets the first one's answer and changes
-- nothing. Source: the routes that change something, in the transaction of the change itself (plugins/maxy/web/changes).
-- Grain: one row per user, route and key. Safe to retry: a file is one transaction, applied once.
-- A row exists when its change has been done: of one that fails nothing stays, and while one is under way its key is held
-- by an advisory lock of its transaction. `fingerprint` tells another request under the same key.
CREATE TABLE web_idempotency
(
    who text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    status smallint NOT NULL,
    media_type text NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (who, route, key)
);
CREATE INDEX web_idempotency_expires_at ON web_idempotency (expires_at);
