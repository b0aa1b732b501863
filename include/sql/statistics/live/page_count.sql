-- Purpose: count all distinct rows of today that began in one span of time.
-- Source: maxy_device_page_flow. Grain: one row per source row, without its repeats.
-- Safe to retry: only into a new generation. The loop forgets a generation when a statement fails.
{% include "statistics/live/page_counted.sql" %}
FROM maxy_device_page_flow AS flow FINAL
WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND page_start_tm >= {kept_until:UInt64}
  AND page_start_tm < {keep_until:UInt64}
