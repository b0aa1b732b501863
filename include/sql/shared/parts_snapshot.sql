-- Purpose: what a MergeTree table consists of at one instant, without reading it.
-- Source: system.parts, system.tables. Grain: one row per partition, and one of partition '' for the table itself, if there is one:
--   its uuid and engine, the server's clock in epoch ms and its uptime.
-- Safe to retry: reads only.
--
-- A part's name never comes back, except in a table that is made anew; then its time of change differs.
-- Where the partitions do not tell the time of their rows, min_time is 0 and all rows may be of the day.
-- Not a subquery for the table: planning it costs half as much again as all the rest. So a table that is put in this one's place at
-- this very instant may be seen with the former one's blocks; at the next snapshot its own, lower ones give it away.
SELECT
    partition_id AS partition,
    toInt64(min(min_block_number)) AS first_block,
    toInt64(max(max_block_number)) AS newest_block,
    groupBitXor(cityHash64(name, modification_time, rows)) AS parts_hash,
{% if of_a_day %}
    sumIf(rows, toUnixTimestamp(max_time) = 0
        OR max_time >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
        AND min_time < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')) AS possible_rows,
{% else %}
    sum(rows) AS possible_rows,
{% endif %}
    '' AS table_uuid,
    '' AS table_engine,
    toInt64(0) AS server_ms,
    toInt64(0) AS uptime
FROM system.parts
WHERE database = currentDatabase() AND table = {table:String} AND active
GROUP BY partition_id

UNION ALL

SELECT
    '', toInt64(0), toInt64(0), toUInt64(0), toUInt64(0),
    toString(uuid), engine, toUnixTimestamp64Milli(now64(3)), toInt64(uptime())
FROM system.tables
WHERE database = currentDatabase() AND name = {table:String}
