-- Purpose: whether ClickHouse answers, for the health page.   Source: none. Grain: one row.
-- Safe to retry: reads only.
SELECT version() AS version
