-- Purpose: the page figures of today so far, the same as those of the daily rollup with today as its day.
-- Source: maxy_device_page_flow; on big days (kept) only its rows from one page_start_tm on, and maxy_page_live_figures for those before.
-- Grain: one row per (package_nm, server_type, os_type). Rows with a missing dimension are one row, of is_complete = 0.
--   rows counts the distinct rows of the source, scanned those of them that were read from it now.
-- Safe to retry: reads only.
--
-- FINAL makes a row that was delivered twice one row. Averages are made of sums and counts at the very end; NaN and infinities
-- are not values.
SELECT
    by_key.has_server_type
        -- White space of any script, so that an ideographic space is no name either.
        AND NOT match(by_key.package, '^[\\t-\\r\\x1c-\\x1f\\x{85}\\p{Z}]*$')
        AND NOT match(by_key.os, '^[\\t-\\r\\x1c-\\x1f\\x{85}\\p{Z}]*$') AS is_complete,
    if(is_complete, toValidUTF8(by_key.package), '') AS package_nm,
    if(is_complete, by_key.server, 0) AS server_type,
    if(is_complete, toValidUTF8(by_key.os), '') AS os_type,
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
    sum(by_key.pages) AS rows,
    sum(by_key.scanned) AS scanned
FROM
(
    SELECT
        ifNull(flow.package_nm, '') AS package,
        ifNull(flow.server_type, 0) AS server,
        ifNull(flow.os_type, '') AS os,
        isNotNull(flow.server_type) AS has_server_type,
        count() AS pages,
        count() AS scanned,
        ifNull(sum(flow.crash_count), 0) AS crashes,
        ifNull(sum(flow.error_count), 0) AS errors,
        ifNull(sum(flow.js_error_count), 0) AS js_errors,
        ifNull(sum(flow.log_count), 0) AS logs,
        ifNull(sum(flow.intervaltime), 0) AS intervaltime_sum,
        count(flow.intervaltime) AS intervaltime_rows,
        ifNull(sumIf(flow.lcp, isFinite(flow.lcp)), 0) AS lcp_sum,
        countIf(isFinite(flow.lcp)) AS lcp_rows,
        ifNull(sumIf(flow.ttfb, isFinite(flow.ttfb)), 0) AS ttfb_sum,
        countIf(isFinite(flow.ttfb)) AS ttfb_rows,
        ifNull(sumIf(flow.fcp, isFinite(flow.fcp)), 0) AS fcp_sum,
        countIf(isFinite(flow.fcp)) AS fcp_rows,
        ifNull(sumIf(flow.inp, isFinite(flow.inp)), 0) AS inp_sum,
        countIf(isFinite(flow.inp)) AS inp_rows
    FROM maxy_device_page_flow AS flow FINAL
    WHERE page_start_tm_dt >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
      AND page_start_tm_dt < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
{% if kept %}
      AND page_start_tm >= {kept_until:UInt64}
{% endif %}
    GROUP BY package, server, os, has_server_type
{% if kept %}

    UNION ALL

    SELECT
        package_nm,
        server_type,
        os_type,
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
        inp_rows
    FROM maxy_page_live_figures
    WHERE generation = {generation:UInt64}
{% endif %}
) AS by_key
GROUP BY is_complete, package_nm, server_type, os_type
