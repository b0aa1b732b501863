-- Purpose: the daily figures of one key over a range of days, for the history page.   Source: max_device_statistic.
-- Grain: one row per stat_date, the newest where a day holds several of the key; days without a row of the key are not there.
-- Safe to retry: reads only. Bounded: at most as many rows as the range has days.
SELECT
    toString(stat_date) AS day,
    toUnixTimestamp64Milli(updated_at) AS updated_ms,
    visit, install, login, dau, revisit_7d, mau,
    crash_count, error_count, js_error_count, log_count,
    intervaltime_avg, lcp_avg, fcp_avg, ttfb_avg, inp_avg,
    pv
FROM max_device_statistic
WHERE stat_date BETWEEN {first:Date} AND {last:Date}
  AND package_nm = {package_nm:String}
  AND server_type = {server_type:UInt32}
  AND os_type = {os_type:String}
ORDER BY stat_date, updated_at DESC
LIMIT 1 BY stat_date
LIMIT {most:UInt32}
