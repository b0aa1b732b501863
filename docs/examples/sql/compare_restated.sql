-- Purpose: what a restatement has changed: each package and column that differs, rows that are new or gone; the last line says
--   how many rows were compared, and whether nothing differs.
-- Source: max_device_statistic, and before_restating, a copy of its days as they were before. Grain: one row per (package_nm, what).
-- Safe to retry: reads only. Compares the days that the copy has, and every column that the table has but updated_at.
WITH
    (
        SELECT groupArray(name)
        FROM
        (
            SELECT name
            FROM system.columns
            WHERE database = currentDatabase() AND table = 'max_device_statistic'
              AND name NOT IN ('stat_date', 'package_nm', 'server_type', 'os_type', 'updated_at')
            ORDER BY position
        )
    ) AS names,
    both_sides AS
    (
        SELECT
            1 AS is_now,
            stat_date, package_nm, server_type, os_type,
            array(* EXCEPT (stat_date, package_nm, server_type, os_type, updated_at) APPLY toString) AS figures
        FROM max_device_statistic
        WHERE stat_date IN (SELECT stat_date FROM before_restating)
        UNION ALL
        SELECT
            0 AS is_now,
            stat_date, package_nm, server_type, os_type,
            array(* EXCEPT (stat_date, package_nm, server_type, os_type, updated_at) APPLY toString) AS figures
        FROM before_restating
    ),
    pairs AS
    (
        SELECT
            stat_date,
            package_nm,
            countIf(is_now = 1) AS rows_now,
            countIf(is_now = 0) AS rows_before,
            anyIf(figures, is_now = 1) AS figures_now,
            anyIf(figures, is_now = 0) AS figures_before
        FROM both_sides
        GROUP BY stat_date, package_nm, server_type, os_type
    ),
    differences AS
    (
        SELECT
            stat_date,
            package_nm,
            arrayJoin(multiIf(
                rows_before = 0, ['(new row)'],
                rows_now = 0, ['(row is gone)'],
                rows_now != 1 OR rows_before != 1, ['(several rows of a key)'],
                arrayFilter((name, now, before) -> now != before, names, figures_now, figures_before)
            )) AS what
        FROM pairs
    ),
    told AS
    (
        SELECT 0 AS place, package_nm, what, count() AS rows, min(stat_date) AS first_day, max(stat_date) AS last_day
        FROM differences
        GROUP BY package_nm, what
        UNION ALL
        SELECT
            1 AS place,
            '(all packages)' AS package_nm,
            if((SELECT count() FROM differences) = 0, 'compared: nothing differs', 'compared') AS what,
            count() AS rows,
            min(stat_date) AS first_day,
            max(stat_date) AS last_day
        FROM pairs
    )
SELECT package_nm, what, rows, first_day, last_day
FROM told
ORDER BY place, package_nm, what
