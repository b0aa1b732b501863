-- Purpose: the free space of ClickHouse's disks, for the health page and the watch.   Source: system.disks.
-- Grain: one row per disk.   Safe to retry: reads only. Bounded: as many rows as the configuration has disks.
SELECT
    name,
    free_space,
    total_space
FROM system.disks
ORDER BY name
