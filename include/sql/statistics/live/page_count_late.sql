-- Purpose: count the rows of today that arrived below the kept span and were not counted before.
-- Source: maxy_device_page_flow; maxy_page_live_seen. Grain: one row per source row, without its repeats.
-- Safe to retry: rows that were counted are left out. The loop forgets a generation when a statement fails.
--
-- The values of page_start_tm are given, not asked for in a subquery: the two would see two states of the table, and a row that the
-- second one alone sees would not be looked up.
{% include "statistics/live/page_counted.sql" %}
FROM maxy_device_page_flow AS flow
WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND page_start_tm < {kept_until:UInt64}
  AND page_start_tm IN {starts:Array(UInt64)}
  AND {% include "shared/newer_blocks.sql" %}
  AND (toUInt64OrZero(splitByChar('_', _part)[4]) = 0 OR reg_dt >= fromUnixTimestamp64Milli({inserted_from_ms:Int64}))
  AND (flow.page_start_tm, hash) NOT IN
  (
      SELECT page_start_tm, row_hash
      FROM maxy_page_live_seen
      WHERE generation = {generation:UInt64} AND page_start_tm IN {starts:Array(UInt64)}
  )
LIMIT 1 BY flow.page_start_tm, hash
