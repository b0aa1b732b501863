-- Purpose: count all distinct rows of today that began in one span of time.
-- Source: maxy_device_page_flow. Grain: one row per source row, without its repeats.
-- Safe to retry: only into a new generation. The loop forgets a generation when a statement fails.
INSERT INTO maxy_page_live_counted
(
    generation, stat_date, page_start_tm, row_hash, package_nm, server_type, os_type, has_server_type,
    crash_count, error_count, js_error_count, log_count, intervaltime, lcp, ttfb, fcp, inp
)
SELECT
    {generation:UInt64},
    {day:Date},
    flow.page_start_tm,
    cityHash64(flow.device_id, flow.sum_mem_usage),
    ifNull(flow.package_nm, ''),
    ifNull(flow.server_type, 0),
    ifNull(flow.os_type, ''),
    isNotNull(flow.server_type),
    flow.crash_count,
    flow.error_count,
    flow.js_error_count,
    flow.log_count,
    flow.intervaltime,
    flow.lcp,
    flow.ttfb,
    flow.fcp,
    flow.inp
FROM maxy_device_page_flow AS flow FINAL
WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND page_start_tm >= {kept_until:UInt64}
  AND page_start_tm < {keep_until:UInt64}
