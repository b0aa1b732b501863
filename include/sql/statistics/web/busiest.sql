-- Purpose: the key that a page shows first: of the busiest package, its busiest key.   Source: max_device_statistic.
-- Grain: one row, or none where nothing is computed. Busy is who has most page views on the newest seven computed days, then most
--   devices; the name decides between equals.
-- Safe to retry: reads only. Bounded: seven days; where a day holds a key twice, its newest row counts.
WITH figures AS
(
    SELECT
        package_nm,
        server_type,
        os_type,
        argMax(pv, updated_at) AS day_pv,
        argMax(dau, updated_at) AS day_dau
    FROM max_device_statistic
    WHERE stat_date BETWEEN {first:Date} AND {last:Date}
      AND stat_date > (SELECT max(stat_date) FROM max_device_statistic WHERE stat_date <= {last:Date}) - 7
    GROUP BY stat_date, package_nm, server_type, os_type
),
sums AS
(
    SELECT
        package_nm,
        server_type,
        os_type,
        sum(day_pv) AS key_pv,
        sum(day_dau) AS key_dau,
        sum(key_pv) OVER (PARTITION BY package_nm) AS package_pv,
        sum(key_dau) OVER (PARTITION BY package_nm) AS package_dau
    FROM figures
    GROUP BY package_nm, server_type, os_type
)
SELECT
    package_nm,
    server_type,
    os_type
FROM sums
ORDER BY package_pv DESC, package_dau DESC, package_nm, key_pv DESC, key_dau DESC, server_type, os_type
LIMIT 1
