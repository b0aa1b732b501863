-- Purpose: at which page_start_tm below the kept span rows may have arrived since a former tick.
-- Source: maxy_device_page_flow. Grain: one row per page_start_tm.
-- Safe to retry: reads only.
--
-- Only parts with newer blocks are read. In those that a merge has made (level above 0) most rows are old ones: there reg_dt tells.
SELECT DISTINCT page_start_tm
FROM maxy_device_page_flow
WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND page_start_tm < {kept_until:UInt64}
  AND {% include "shared/newer_blocks.sql" %}
  AND (toUInt64OrZero(splitByChar('_', _part)[4]) = 0 OR reg_dt >= fromUnixTimestamp64Milli({inserted_from_ms:Int64}))
ORDER BY page_start_tm
