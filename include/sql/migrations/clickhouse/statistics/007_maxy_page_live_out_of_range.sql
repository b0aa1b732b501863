-- Purpose: the live page loop counts, beside its sums, how many values of each metric were left out because they lie outside the
--   metric's plausible range (Airflow variable maxy_metric_ranges).
-- Source: maxy_page_live_counted, as in 006. Grain: as 006 says.
-- Safe to retry: IF NOT EXISTS; MODIFY QUERY replaces the view's query in one step, so that no insert is missed in between.
--
-- page_counted.sql gives values outside their range as NULL, with a 1 in the metric's column here.
ALTER TABLE maxy_page_live_counted
    ADD COLUMN IF NOT EXISTS crash_count_out UInt8,
    ADD COLUMN IF NOT EXISTS error_count_out UInt8,
    ADD COLUMN IF NOT EXISTS js_error_count_out UInt8,
    ADD COLUMN IF NOT EXISTS log_count_out UInt8,
    ADD COLUMN IF NOT EXISTS intervaltime_out UInt8,
    ADD COLUMN IF NOT EXISTS lcp_out UInt8,
    ADD COLUMN IF NOT EXISTS ttfb_out UInt8,
    ADD COLUMN IF NOT EXISTS fcp_out UInt8,
    ADD COLUMN IF NOT EXISTS inp_out UInt8;

ALTER TABLE maxy_page_live_figures
    ADD COLUMN IF NOT EXISTS crash_count_out UInt64,
    ADD COLUMN IF NOT EXISTS error_count_out UInt64,
    ADD COLUMN IF NOT EXISTS js_error_count_out UInt64,
    ADD COLUMN IF NOT EXISTS log_count_out UInt64,
    ADD COLUMN IF NOT EXISTS intervaltime_out UInt64,
    ADD COLUMN IF NOT EXISTS lcp_out UInt64,
    ADD COLUMN IF NOT EXISTS ttfb_out UInt64,
    ADD COLUMN IF NOT EXISTS fcp_out UInt64,
    ADD COLUMN IF NOT EXISTS inp_out UInt64;

ALTER TABLE maxy_page_live_figures_mv MODIFY QUERY
SELECT
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
    countIf(isFinite(inp)) AS inp_rows,
    sum(maxy_page_live_counted.crash_count_out) AS crash_count_out,
    sum(maxy_page_live_counted.error_count_out) AS error_count_out,
    sum(maxy_page_live_counted.js_error_count_out) AS js_error_count_out,
    sum(maxy_page_live_counted.log_count_out) AS log_count_out,
    sum(maxy_page_live_counted.intervaltime_out) AS intervaltime_out,
    sum(maxy_page_live_counted.lcp_out) AS lcp_out,
    sum(maxy_page_live_counted.ttfb_out) AS ttfb_out,
    sum(maxy_page_live_counted.fcp_out) AS fcp_out,
    sum(maxy_page_live_counted.inp_out) AS inp_out
FROM maxy_page_live_counted
GROUP BY generation, stat_date, package_nm, server_type, os_type, has_server_type;
