-- Purpose: the computed days with what readers rely on: one row per key, for the health page and the watch.
-- Source: max_device_statistic. Grain: one row per stat_date that has a row of any key. A key that stands in several rows (on a
--   server before ClickHouse 26.6.1 a restart can bring replaced rows back) is one of `keys` and several of `rows`.
-- Safe to retry: reads only. Bounded: reads the keys of the range's partitions.
SELECT
    toString(stat_date) AS day,
    count() AS rows,
    uniqExact(package_nm, server_type, os_type) AS keys,
    toUnixTimestamp64Milli(max(updated_at)) AS updated_ms
FROM max_device_statistic
WHERE stat_date BETWEEN {first:Date} AND {last:Date}
GROUP BY stat_date
ORDER BY stat_date
LIMIT {most:UInt32}
