-- Purpose: the partitions of generations before one, which no copy needs any more.
-- Source: system.parts. Grain: one row per table and partition.
-- Safe to retry: reads only.
SELECT DISTINCT table, partition_id
FROM system.parts
WHERE database = currentDatabase() AND table IN {names:Array(String)} AND active
  AND toUInt64OrDefault(partition, toUInt64(18446744073709551615)) < {generation:UInt64}
