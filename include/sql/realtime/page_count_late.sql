-- Purpose: count the rows of today that arrived below the kept span and were not counted before.
-- Source: maxy_device_page_flow; maxy_page_live_seen. Grain: one row per source row, without its repeats.
-- Safe to retry: rows that were counted are left out. The loop forgets a generation when a statement fails.
--
-- The values of page_start_tm are given, not asked for in a subquery: the two would see two states of the table, and a row that the
-- second one alone sees would not be looked up.
INSERT INTO maxy_page_live_counted
(
    generation, stat_date, page_start_tm, row_hash, package_nm, server_type, os_type, has_server_type,
    crash_count, error_count, js_error_count, log_count, intervaltime, lcp, ttfb, fcp, inp
)
SELECT
    {generation:UInt64},
    {day:Date},
    flow.page_start_tm,
    cityHash64(flow.device_id, flow.sum_mem_usage) AS hash,
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
FROM maxy_device_page_flow AS flow
WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND page_start_tm < {kept_until:UInt64}
  AND page_start_tm IN {starts:Array(UInt64)}
  -- Parts with newer blocks.
  AND toInt64OrDefault(splitByChar('_', _part)[3], toInt64(9223372036854775807))
      > transform(splitByChar('_', _part)[1], {partitions:Array(String)}, {blocks:Array(Int64)}, toInt64(-1))
  AND (toUInt64OrZero(splitByChar('_', _part)[4]) = 0 OR reg_dt >= fromUnixTimestamp64Milli({inserted_from_ms:Int64}))
  AND (flow.page_start_tm, hash) NOT IN
  (
      SELECT page_start_tm, row_hash
      FROM maxy_page_live_seen
      WHERE generation = {generation:UInt64} AND page_start_tm IN {starts:Array(UInt64)}
  )
LIMIT 1 BY flow.page_start_tm, hash
