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
{% set averages = ["intervaltime", "lcp", "ttfb", "fcp", "inp"] %}
{% set metrics = ["crash_count", "error_count", "js_error_count", "log_count"] + averages %}
SELECT
    {{ names.all_of([
        "by_key.has_server_type",
        names.makes_a_key("by_key.package", max_name_length),
        names.makes_a_key("by_key.os", max_name_length),
    ]) }} AS is_complete,
    if(is_complete, by_key.package, '') AS package_nm,
    if(is_complete, by_key.server, 0) AS server_type,
    if(is_complete, by_key.os, '') AS os_type,
    sum(by_key.crashes) AS crash_count,
    sum(by_key.errors) AS error_count,
    sum(by_key.js_errors) AS js_error_count,
    sum(by_key.logs) AS log_count,
{%- for name in averages %}
    sum(by_key.{{ name }}_sum) / greatest(sum(by_key.{{ name }}_values) - {{ name }}_out, 1) AS {{ name }}_avg,
{%- endfor %}
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
{%- for name in averages %}
        {{ ranges.sum_within("flow." ~ name, metric_ranges[name], name == "intervaltime") }} AS {{ name }}_sum,
        count(flow.{{ name }}) AS {{ name }}_values,
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
{%- for name in averages %}
        {{ name }}_sum,
        {{ name }}_rows + {{ name }}_out,
{%- endfor %}
{%- for name in metrics %}
        {{ name }}_out{{ "" if loop.last else "," }}
{%- endfor %}
    FROM maxy_page_live_figures
    WHERE generation = {generation:UInt64}
{% endif %}
) AS by_key
GROUP BY is_complete, package_nm, server_type, os_type
