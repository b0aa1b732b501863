-- Purpose: what the package's statements cost ClickHouse in the last minutes, per loop and per task.   Source: system.query_log.
-- Grain: one row per loop or (DAG, task). Statements are recognised by their query_id, which the package gives them; a server
--   in front of an embedded engine keeps it as log_comment. A task's is <DAG>.<task>[/<map index>]/<run>/try<n>.<statement>;
--   ids of DAGs and tasks may hold dots, a run's also slashes. Rows of before an upgrade have dots in the place of slashes.
-- Safe to retry: reads only. Bounded: the newest days of the log by its partition key, and a limit.
WITH
    if(log_comment != '', log_comment, query_id) AS id,
    extract(id, '^maxy_realtime_(.+)_[0-9a-f]{16}$') AS loop,
    extract(id, '^([^/]+\\.[^/]+)/.+/try[0-9]+\\.[0-9]+$') AS task_by_slash,
    if(task_by_slash != '', task_by_slash, extract(id, '^([^.]+\\.[^.]+)\\..*\\.try[0-9]+\\.[0-9]+$')) AS task
SELECT
    multiIf(loop = 'pages', loop, loop != '', concat('realtime_', loop), task) AS name,
    countIf(type = 'QueryFinish') AS runs,
    countIf(type IN ('ExceptionBeforeStart', 'ExceptionWhileProcessing')) AS failures,
    sum(query_duration_ms) / 1000 AS seconds,
    sum(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds']) / 1e6 AS cpu_seconds,
    sum(read_rows) AS read_rows,
    sum(read_bytes) AS read_bytes,
    max(memory_usage) AS memory_bytes
FROM system.query_log
-- The log's dates are of the server's zone, which is not the session's: a day may lie between them.
WHERE event_date >= toDate(now() - {seconds:UInt32}) - 1
  AND event_time >= now() - {seconds:UInt32}
  AND type != 'QueryStart'
  AND (loop != '' OR task != '')
GROUP BY name
ORDER BY cpu_seconds DESC, name
LIMIT {most:UInt32}
