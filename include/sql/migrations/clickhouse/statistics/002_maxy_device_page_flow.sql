-- Purpose: one row per visited page with its timings and error counts. Source of the page figures and of the two access tables.
-- Source: the collectors of the maxy system. Grain: (page_start_tm, device_id, sum_mem_usage); a repeated delivery has the same
-- key and is one row for every reader that says FINAL.
-- Safe to retry: IF NOT EXISTS. In production this table belongs to the collectors and is only adopted.
CREATE TABLE IF NOT EXISTS maxy_device_page_flow
(
    reg_dt DateTime64(3) DEFAULT now64(3),
    device_id String,
    page_start_tm UInt64,
    page_start_tm_dt DateTime,
    log_date Nullable(Date),
    sum_mem_usage UInt64,
    package_nm Nullable(String),
    server_type Nullable(UInt32),
    os_type Nullable(String),
    page_end_tm Nullable(UInt64),
    intervaltime Nullable(UInt32),
    loading_time Nullable(UInt32),
    response_time Nullable(UInt32),
    error_count Nullable(UInt32),
    js_error_count Nullable(UInt32),
    crash_count Nullable(UInt32),
    log_count Nullable(UInt64),
    lcp Nullable(Float64),
    fcp Nullable(Float64),
    ttfb Nullable(Float64),
    inp Nullable(Float64),
    cls Nullable(Float64),
    log_type Nullable(UInt64),
    wtf_flag Nullable(String),
    page_id Nullable(String),
    page_name Nullable(String),
    req_url Nullable(String),
    user_id Nullable(String),
    device_model Nullable(String),
    app_ver Nullable(String),
    os_ver Nullable(String),
    com_type Nullable(String),
    avg_com_sensitivity Nullable(UInt32),
    avg_cpu_usage Nullable(UInt32),
    sim_operator_nm Nullable(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(page_start_tm_dt, '${STATISTICS_TIMEZONE}')
ORDER BY (page_start_tm, device_id, sum_mem_usage)
TTL page_start_tm_dt + INTERVAL ${PAGE_FLOW_TTL_DAYS} DAY
SETTINGS ttl_only_drop_parts = 1;
