-- Purpose: the keys that there are figures of, where Valkey does not know any.   Source: max_device_statistic.
-- Grain: one row per (package_nm, server_type, os_type) that has a row on one of the days.
-- Safe to retry: reads only. Bounded: the range of days, and a limit.
SELECT
    package_nm,
    server_type,
    os_type
FROM max_device_statistic
WHERE stat_date BETWEEN {first:Date} AND {last:Date}
GROUP BY package_nm, server_type, os_type
ORDER BY package_nm, server_type, os_type
LIMIT {most:UInt32}
