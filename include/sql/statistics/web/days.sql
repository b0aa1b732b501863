-- Purpose: which days of a range are computed, for the history page.   Source: max_device_statistic.
-- Grain: one row per stat_date that has a row of any key.
-- Safe to retry: reads only. Bounded: reads one column of the range's partitions.
SELECT toString(stat_date) AS day
FROM max_device_statistic
WHERE stat_date BETWEEN {first:Date} AND {last:Date}
GROUP BY stat_date
ORDER BY stat_date
LIMIT {most:UInt32}
