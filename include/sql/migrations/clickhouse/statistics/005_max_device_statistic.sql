-- Purpose: the daily device and page statistics, the table this package writes.
-- Source: the daily rollup. Grain: one row per (stat_date, package_nm, server_type, os_type).
-- Safe to retry: IF NOT EXISTS.
-- A plain MergeTree partitioned by day: the rollup replaces a whole day with REPLACE PARTITION, so no engine that merges rows
-- away is needed, and readers need no FINAL.
CREATE TABLE IF NOT EXISTS max_device_statistic
(
    stat_date Date,
    package_nm String,
    server_type UInt32,
    os_type String,
    visit UInt64,
    install UInt64,
    login UInt64,
    dau UInt64,
    revisit_7d UInt64,
    mau UInt64,
    crash_count UInt64,
    error_count UInt64,
    js_error_count UInt64,
    log_count UInt64,
    intervaltime_avg Float64,
    lcp_avg Float64,
    ttfb_avg Float64,
    fcp_avg Float64,
    inp_avg Float64,
    pv UInt64,
    updated_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY stat_date
ORDER BY (stat_date, package_nm, server_type, os_type)
TTL stat_date + INTERVAL ${DEVICE_STATISTIC_TTL_DAYS} DAY
SETTINGS ttl_only_drop_parts = 1;

-- The name older readers know.
CREATE VIEW IF NOT EXISTS maxy_device_statistic
AS SELECT
    stat_date,
    package_nm,
    server_type,
    os_type,
    visit,
    install,
    login,
    dau,
    revisit_7d,
    mau,
    crash_count,
    error_count,
    js_error_count,
    log_count,
    intervaltime_avg,
    lcp_avg,
    ttfb_avg,
    fcp_avg,
    inp_avg,
    pv,
    updated_at
FROM max_device_statistic;
