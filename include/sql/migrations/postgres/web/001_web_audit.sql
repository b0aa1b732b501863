-- Purpose: who has changed what through the API, and how it ended. Source: the routes that change something, in the
-- transaction of the change itself (plugins/maxy/web/changes). Grain: one row per request that was allowed to try.
-- One that was refused or failed is recorded after its transaction was undone.
-- Safe to retry: a file is one transaction, applied once.
-- Retention: rows older than the setting are deleted by instant, which is what the first index is for. `details` has what
-- the route says of the change, never a secret.
CREATE TABLE web_audit
(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    role text NOT NULL,
    method text NOT NULL,
    route text NOT NULL,
    target text NOT NULL,
    request_id text NOT NULL,
    result text NOT NULL CHECK (result IN ('done', 'refused', 'failed')),
    status smallint NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX web_audit_at ON web_audit (at);
CREATE INDEX web_audit_who ON web_audit (who, at);
CREATE INDEX web_audit_target ON web_audit (target, at);
