-- Purpose: toys that came and went. Grain: one row per delivery.
CREATE TABLE IF NOT EXISTS toys
(
    kind String,
    number Int32,
    at DateTime('UTC')
)
ENGINE = MergeTree
ORDER BY (kind, at);
