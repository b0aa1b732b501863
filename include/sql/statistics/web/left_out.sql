-- Purpose: what the newest computation of each day has left out, and why, for the health page.   Source: maxy_partition_report.
-- Grain: one row per (day, cause) of the day's newest report; causes that have left nothing out are not there.
-- Safe to retry: reads only. Bounded: the days' reports, and a limit.
SELECT
    partition AS day,
    cause,
    rows,
    examples
FROM maxy_partition_report
WHERE table_name = 'max_device_statistic'
  AND partition BETWEEN {first:String} AND {last:String}
  AND (partition, reported_at) IN
  (
      SELECT partition, max(reported_at)
      FROM maxy_partition_report
      WHERE table_name = 'max_device_statistic' AND partition BETWEEN {first:String} AND {last:String}
      GROUP BY partition
  )
  AND rows > 0
ORDER BY day, rows DESC, cause
LIMIT {most:UInt32}
