-- Purpose: how many log rows have become visible, per key and tenth of a second of their insertion, since an instant.
-- Source: maxy_app_total_log. Grain: one row per (package_nm, server_type, slot); rows without one of the two make a key of their own.
--   One more row, of slot -1, tells the server's clock as newest_ms; it comes first, so that the clock is read before the rows are.
-- Safe to retry: reads only; the loop counts by the difference to what it read before.
{% import "shared/names.sql" as names %}
SELECT 0 AS is_complete, '' AS package, 0 AS server, -1 AS slot, 0 AS rows, toUnixTimestamp64Milli(now64(3)) AS newest_ms

UNION ALL

WITH {{ names.written("ifNull(log.package_nm, '')") }} AS name
SELECT
    {{ names.all_of(["isNotNull(log.server_type)", names.makes_a_key("name", max_name_length)]) }} AS is_complete,
    if(is_complete, name, '') AS package,
    if(is_complete, assumeNotNull(log.server_type), 0) AS server,
    intDiv(toUnixTimestamp64Milli(reg_dt), {slot_ms:Int64}) AS slot,
    count() AS rows,
    max(toUnixTimestamp64Milli(reg_dt)) AS newest_ms
FROM maxy_app_total_log AS log
WHERE reg_dt >= fromUnixTimestamp64Milli({since_ms:Int64})
{% if leave_out_log_types %}
  AND log_type NOT IN {log_types:Array(UInt64)}
{% endif %}
{% if prune_parts %}
  AND {% include "shared/unseen_parts.sql" %}
{% endif %}
GROUP BY is_complete, package, server, slot
