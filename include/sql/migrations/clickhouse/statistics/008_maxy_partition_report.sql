-- Purpose: what a run that replaced a partition left out of it, for the health page and for whoever looks for the cause.
-- Source: ClickHouseReplacePartitionOperator. Grain: one row per (table_name, partition, reported_at, cause).
-- Safe to retry: IF NOT EXISTS. Rows are only added: all rows of a run have one reported_at, and of a partition the run with the
--   newest one counts. A run that left nothing out has rows too, with 0, so that it takes the place of the one before.
CREATE TABLE IF NOT EXISTS maxy_partition_report
(
    table_name LowCardinality(String),
    partition String,
    cause LowCardinality(String),
    rows UInt64,
    examples Array(String),
    reported_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(reported_at)
ORDER BY (table_name, partition, reported_at)
TTL toDateTime(reported_at) + INTERVAL 93 DAY
SETTINGS ttl_only_drop_parts = 1;
