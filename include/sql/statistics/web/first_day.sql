-- Purpose: the first day that was ever computed; before it nothing is missing.   Source: max_device_statistic.
-- Grain: one row; `has_days` is 0 where the table has no row.
-- Safe to retry: reads only. Bounded: the partitions' own minimum, no row is read.
SELECT
    toString(min(stat_date)) AS day,
    toUInt8(count() > 0) AS has_days
FROM max_device_statistic
