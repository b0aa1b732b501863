-- Purpose: what the live page loop keeps of a big day, so that a tick need not read the whole day again: which rows it has counted
--   (…_seen) and their sums (…_figures). Both are filled by inserts into …_counted, which itself holds nothing, so that one
--   statement gives the same rows to both.
-- Source: maxy_device_page_flow, by the loop's own inserts; nothing hangs on the source table.
-- Grain: seen: one row per counted row; figures: one row per (generation, package_nm, server_type, os_type) once merged.
-- Safe to retry: IF NOT EXISTS. The content is a shortcut that the loop makes anew whenever it is in doubt; it can be dropped.
-- A generation is one beginning by one copy of the loop. It is a partition, because it is thrown away as a whole, by the loop itself;
-- the TTL is for installations where no loop runs any more, and far longer than a generation lives.
CREATE TABLE IF NOT EXISTS maxy_page_live_counted
(
    generation UInt64,
    stat_date Date,
    page_start_tm UInt64,
    row_hash UInt64,
    package_nm String,
    server_type UInt32,
    os_type String,
    has_server_type Bool,
    crash_count Nullable(UInt32),
    error_count Nullable(UInt32),
    js_error_count Nullable(UInt32),
    log_count Nullable(UInt64),
    intervaltime Nullable(UInt32),
    lcp Nullable(Float64),
    ttfb Nullable(Float64),
    fcp Nullable(Float64),
    inp Nullable(Float64)
)
ENGINE = Null;

-- row_hash stands for the rest of the source's key, the device and sum_mem_usage. Few rows share a millisecond, so that two of
-- them get the same 64 bits once in some million years. Small granules: the loop looks up rows here and there.
CREATE TABLE IF NOT EXISTS maxy_page_live_seen
(
    generation UInt64,
    page_start_tm UInt64,
    row_hash UInt64,
    inserted_at DateTime DEFAULT now()
)
ENGINE = MergeTree
PARTITION BY generation
ORDER BY (page_start_tm, row_hash)
TTL inserted_at + INTERVAL 3 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS maxy_page_live_figures
(
    generation UInt64,
    stat_date Date,
    package_nm String,
    server_type UInt32,
    os_type String,
    has_server_type Bool,
    pages UInt64,
    crashes UInt64,
    errors UInt64,
    js_errors UInt64,
    logs UInt64,
    intervaltime_sum UInt64,
    intervaltime_rows UInt64,
    lcp_sum Float64,
    lcp_rows UInt64,
    ttfb_sum Float64,
    ttfb_rows UInt64,
    fcp_sum Float64,
    fcp_rows UInt64,
    inp_sum Float64,
    inp_rows UInt64,
    inserted_at DateTime DEFAULT now()
)
ENGINE = SummingMergeTree
PARTITION BY generation
ORDER BY (stat_date, package_nm, server_type, os_type, has_server_type)
TTL inserted_at + INTERVAL 3 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS maxy_page_live_seen_mv TO maxy_page_live_seen
AS SELECT generation, page_start_tm, row_hash
FROM maxy_page_live_counted;

-- NaN and infinities are not values.
CREATE MATERIALIZED VIEW IF NOT EXISTS maxy_page_live_figures_mv TO maxy_page_live_figures
AS SELECT
    generation,
    stat_date,
    package_nm,
    server_type,
    os_type,
    has_server_type,
    count() AS pages,
    ifNull(sum(crash_count), 0) AS crashes,
    ifNull(sum(error_count), 0) AS errors,
    ifNull(sum(js_error_count), 0) AS js_errors,
    ifNull(sum(log_count), 0) AS logs,
    ifNull(sum(intervaltime), 0) AS intervaltime_sum,
    count(intervaltime) AS intervaltime_rows,
    ifNull(sumIf(lcp, isFinite(lcp)), 0) AS lcp_sum,
    countIf(isFinite(lcp)) AS lcp_rows,
    ifNull(sumIf(ttfb, isFinite(ttfb)), 0) AS ttfb_sum,
    countIf(isFinite(ttfb)) AS ttfb_rows,
    ifNull(sumIf(fcp, isFinite(fcp)), 0) AS fcp_sum,
    countIf(isFinite(fcp)) AS fcp_rows,
    ifNull(sumIf(inp, isFinite(inp)), 0) AS inp_sum,
    countIf(isFinite(inp)) AS inp_rows
FROM maxy_page_live_counted
GROUP BY generation, stat_date, package_nm, server_type, os_type, has_server_type;
