-- Purpose: how many rows came in, in slots of some seconds, so that the live page begins with more than its first tick.
-- Source: maxy_app_total_log. Grain: one row per slot that has rows; the first slot, number 0, begins at since_ms.
-- Safe to retry: reads only. Bounded: rows of the last minutes by the sorting key, one package and server type; rows that came
--   in later than `log_tm_since_ms` allows are not there, nor repeats that were merged away.
{% import "shared/names.sql" as names %}
SELECT
    intDiv(toUnixTimestamp64Milli(reg_dt) - {since_ms:Int64}, {slot_ms:Int64}) AS slot,
    count() AS rows
FROM maxy_app_total_log
WHERE log_tm >= {log_tm_since_ms:UInt64}
  AND reg_dt >= fromUnixTimestamp64Milli({since_ms:Int64})
  AND reg_dt < fromUnixTimestamp64Milli({until_ms:Int64})
{% if is_rewritten %}
  AND {{ names.written("ifNull(package_nm, '')") }} = {package_nm:String}
{% else %}
  AND package_nm = {package_nm:String}
{% endif %}
  AND server_type = {server_type:UInt32}
{% if leave_out_log_types %}
  AND log_type NOT IN {log_types:Array(UInt64)}
{% endif %}
GROUP BY slot
ORDER BY slot
LIMIT {most:UInt32}
