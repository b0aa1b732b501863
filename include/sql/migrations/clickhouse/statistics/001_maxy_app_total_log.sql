-- Purpose: the application's raw log, one row per logged event. Source of the log meter and the response times.
-- Source: the collectors of the maxy system. Grain: (log_tm, device_id, mem_usage), repeats of a delivery included until they are merged.
-- Safe to retry: IF NOT EXISTS. In production this table belongs to the collectors and is only adopted.
-- The partition's day names its zone, or the server's own zone would decide where a row goes. Whole days expire at once, so
-- only whole parts are dropped: rows are never rewritten to remove some of them.
CREATE TABLE IF NOT EXISTS maxy_app_total_log
(
    reg_dt DateTime64(3) DEFAULT now64(3),
    log_tm UInt64,
    log_tm_dt DateTime,
    device_id String,
    log_type UInt64,
    mem_usage UInt64,
    package_nm Nullable(String),
    server_type Nullable(UInt32),
    os_type Nullable(String),
    intervaltime Nullable(UInt32),
    req_url Nullable(String),
    res_msg Nullable(String),
    page_url Nullable(String),
    url_path Nullable(String),
    url_query Nullable(String),
    page_id Nullable(String),
    user_id Nullable(String),
    device_model Nullable(String),
    app_ver Nullable(String),
    os_ver Nullable(String),
    com_type Nullable(String),
    com_sensitivity Nullable(UInt32),
    sim_operator_nm Nullable(String),
    ip Nullable(String),
    timezone Nullable(String),
    login_yn Nullable(String),
    maxy_session_id Nullable(String),
    cpu_usage Nullable(UInt32),
    status_code Nullable(UInt32),
    response_size Nullable(UInt64),
    request_size Nullable(UInt64),
    wait_time Nullable(UInt32),
    download_time Nullable(UInt32)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(log_tm_dt, '${STATISTICS_TIMEZONE}')
ORDER BY (log_tm, device_id, mem_usage)
TTL log_tm_dt + INTERVAL ${TOTAL_LOG_TTL_DAYS} DAY
SETTINGS ttl_only_drop_parts = 1;
