-- Purpose: the page figures of today so far, the same as those of the daily rollup with today as its day.
-- Source: maxy_device_page_flow; on big days (kept) only its rows from one page_start_tm on, and maxy_page_live_figures for those before.
-- Grain: one row per (package_nm, server_type, os_type). Rows with a missing dimension are one row, of is_complete = 0.
--   rows counts the distinct rows of the source, scanned those of them that were read from it now, …_out the values that were left
--   out because they are outside their metric's range.
-- Safe to retry: reads only.
--
-- FINAL makes a row that was delivered twice one row. Averages are made of sums and counts at the very end.
{% import "shared/names.sql" as names %}
{% import "shared/ranges.sql" as ranges %}
{% set metrics = ["crash_count", "error_count", "js_error_count", "log_count", "intervaltime", "lcp", "ttfb", "fcp", "inp"] %}
SELECT
    by_key.has_server_type
        AND {{ names.makes_a_key("by_key.package", max_name_length) }}
        AND {{ names.makes_a_key("by_key.os", max_name_length) }} AS is_complete,
    if(is_complete, by_key.package, '') AS package_nm,
    if(is_complete, by_key.server, 0) AS server_type,
    if(is_complete, by_key.os, '') AS os_type,
    sum(by_key.crashes) AS crash_count,
    sum(by_key.errors) AS error_count,
    sum(by_key.js_errors) AS js_error_count,
    sum(by_key.logs) AS log_count,
    sum(by_key.intervaltime_sum) / greatest(sum(by_key.intervaltime_rows), 1) AS intervaltime_avg,
    sum(by_key.lcp_sum) / greatest(sum(by_key.lcp_rows), 1) AS lcp_avg,
    sum(by_key.ttfb_sum) / greatest(sum(by_key.ttfb_rows), 1) AS ttfb_avg,
    sum(by_key.fcp_sum) / greatest(sum(by_key.fcp_rows), 1) AS fcp_avg,
    sum(by_key.inp_sum) / greatest(sum(by_key.inp_rows), 1) AS inp_avg,
    sum(by_key.pages) AS pv,
{%- for name in metrics %}
    sum(by_key.{{ name }}_out) AS {{ name }}_out,
{%- endfor %}
    sum(by_key.pages) AS rows,
    sum(by_key.scanned) AS scanned
FROM
(
    SELECT
        {{ names.written("ifNull(flow.package_nm, '')") }} AS package,
        ifNull(flow.server_type, 0) AS server,
        {{ names.written("ifNull(flow.os_type, '')") }} AS os,
        isNotNull(flow.server_type) AS has_server_type,
        count() AS pages,
        count() AS scanned,
        {{ ranges.sum_within("flow.crash_count", metric_ranges.crash_count, true) }} AS crashes,
        {{ ranges.sum_within("flow.error_count", metric_ranges.error_count, true) }} AS errors,
        {{ ranges.sum_within("flow.js_error_count", metric_ranges.js_error_count, true) }} AS js_errors,
        {{ ranges.sum_within("flow.log_count", metric_ranges.log_count, true) }} AS logs,
        {{ ranges.sum_within("flow.intervaltime", metric_ranges.intervaltime, true) }} AS intervaltime_sum,
        {{ ranges.count_within("flow.intervaltime", metric_ranges.intervaltime, true) }} AS intervaltime_rows,
{%- for name in ["lcp", "ttfb", "fcp", "inp"] %}
        {{ ranges.sum_within("flow." ~ name, metric_ranges[name]) }} AS {{ name }}_sum,
        {{ ranges.count_within("flow." ~ name, metric_ranges[name]) }} AS {{ name }}_rows,
{%- endfor %}
{%- for name in metrics %}
        {{ ranges.count_outside("flow." ~ name, metric_ranges[name], loop.index <= 5) }} AS {{ name }}_out{{ "" if loop.last else "," }}
{%- endfor %}
    FROM maxy_device_page_flow AS flow FINAL
    WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
      AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
{% if kept %}
      AND page_start_tm >= {kept_until:UInt64}
{% endif %}
    GROUP BY flow.package_nm, flow.server_type, flow.os_type
{% if kept %}

    UNION ALL

    SELECT
        {{ names.written("package_nm") }},
        server_type,
        {{ names.written("os_type") }},
        has_server_type,
        pages,
        0,
        crashes,
        errors,
        js_errors,
        logs,
        intervaltime_sum,
        intervaltime_rows,
        lcp_sum,
        lcp_rows,
        ttfb_sum,
        ttfb_rows,
        fcp_sum,
        fcp_rows,
        inp_sum,
        inp_rows,
{%- for name in metrics %}
        {{ name }}_out{{ "" if loop.last else "," }}
{%- endfor %}
    FROM maxy_page_live_figures
    WHERE generation = {generation:UInt64}
{% endif %}
) AS by_key
GROUP BY is_complete, package_nm, server_type, os_type
