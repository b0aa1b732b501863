-- Purpose: which device was there on which day, and how often. Source of visit, install, login, dau, revisit_7d and mau.
-- Source: maxy_device_page_flow, at insertion. Grain: (log_date, package_nm, server_type, os_type, device_id) once merged;
-- unmerged parts hold several rows of a key, so readers sum.
-- Safe to retry: IF NOT EXISTS. In production both objects belong to the collectors and are only adopted.
-- Partitioned by day: the live jobs read today's partition alone, a day can be rebuilt alone, and whole days expire.
CREATE TABLE IF NOT EXISTS maxy_device_access_history
(
    log_date Date,
    package_nm String,
    server_type UInt32,
    os_type String,
    device_id String,
    visit_cnt UInt64,
    install_cnt UInt64,
    login_cnt UInt64
)
ENGINE = SummingMergeTree
PARTITION BY log_date
ORDER BY (log_date, package_nm, server_type, os_type, device_id)
TTL log_date + INTERVAL ${ACCESS_HISTORY_TTL_DAYS} DAY
SETTINGS ttl_only_drop_parts = 1;

-- 1048597 = install, 1048580 = application start. A repeated delivery is counted again here: the view sees inserted blocks, not
-- merged rows. A row without server_type stays out, because the column has no value that could stand for "unknown" (0 is a server
-- type); a missing name enters as '' and is left out, and counted, by the readers. login_cnt is filled by another program.
CREATE MATERIALIZED VIEW IF NOT EXISTS maxy_device_access_history_mv TO maxy_device_access_history
AS SELECT
    toDate(page_start_tm_dt, '${STATISTICS_TIMEZONE}') AS log_date,
    ifNull(flow.package_nm, '') AS package_nm,
    assumeNotNull(flow.server_type) AS server_type,
    ifNull(flow.os_type, '') AS os_type,
    device_id,
    count() AS visit_cnt,
    countIf(log_type = 1048597) AS install_cnt,
    toUInt64(0) AS login_cnt
FROM maxy_device_page_flow AS flow
WHERE log_type IN (1048597, 1048580) AND isNotNull(flow.server_type)
GROUP BY log_date, package_nm, server_type, os_type, device_id;
