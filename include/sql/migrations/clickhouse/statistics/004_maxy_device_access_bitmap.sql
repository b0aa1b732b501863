-- Purpose: the devices of a day as one bitmap per key, for readers that count devices by merging days.
-- Source: maxy_device_page_flow, at insertion. Grain: (log_date, package_nm, server_type, os_type) once merged.
-- Safe to retry: IF NOT EXISTS. In production both objects belong to the collectors and are only adopted.
CREATE TABLE IF NOT EXISTS maxy_device_access_bitmap
(
    log_date Date,
    package_nm String,
    server_type UInt32,
    os_type String,
    users AggregateFunction(groupBitmap, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY log_date
ORDER BY (log_date, package_nm, server_type, os_type)
TTL log_date + INTERVAL ${ACCESS_HISTORY_TTL_DAYS} DAY
SETTINGS ttl_only_drop_parts = 1;

-- The same rows as maxy_device_access_history_mv, so that both tables know the same devices.
CREATE MATERIALIZED VIEW IF NOT EXISTS maxy_device_access_bitmap_mv TO maxy_device_access_bitmap
AS SELECT
    toDate(page_start_tm_dt, '${STATISTICS_TIMEZONE}') AS log_date,
    ifNull(flow.package_nm, '') AS package_nm,
    assumeNotNull(flow.server_type) AS server_type,
    ifNull(flow.os_type, '') AS os_type,
    groupBitmapState(CRC64(device_id)) AS users
FROM maxy_device_page_flow AS flow
WHERE log_type IN (1048597, 1048580) AND isNotNull(flow.server_type)
GROUP BY log_date, package_nm, server_type, os_type;
