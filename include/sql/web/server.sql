-- Purpose: whether ClickHouse answers, what time it is there, and whether replaced parts go at once, for the health page.
-- Source: system.tables. Grain: one row.   Safe to retry: reads only.
SELECT
    version() AS version,
    toUnixTimestamp64Milli(now64(3)) AS now_ms,
    (
        SELECT count()
        FROM system.tables
        WHERE database = currentDatabase() AND name = {table:String} AND engine_full LIKE '%old_parts_lifetime%'
    ) AS short_lifetimes
