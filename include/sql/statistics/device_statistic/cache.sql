-- Purpose: one day of max_device_statistic as it is put into Valkey.   Source: max_device_statistic.
-- Grain: one row per (package_nm, server_type, os_type).
-- Safe to retry: reads only.
SELECT
    stat_date, package_nm, server_type, os_type,
    visit, install, login, dau, revisit_7d, mau,
    crash_count, error_count, js_error_count, log_count,
    intervaltime_avg, lcp_avg, ttfb_avg, fcp_avg, inp_avg,
    pv, updated_at
FROM max_device_statistic
WHERE stat_date = toDate(%(stat_date)s)
