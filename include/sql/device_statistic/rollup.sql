-- Purpose: the device and page statistics of one day, computed whole in ClickHouse.
-- Source: maxy_device_access_history (visits and devices), maxy_device_page_flow (pages).
-- Grain: one row per (stat_date, package_nm, server_type, os_type) that had a page on the day or a device on the 30 days that end
--   with it; a metric that one source lacks is 0.
-- Safe to retry: writes only its own stage table, which is swapped in as a whole afterwards.
--
-- FINAL makes an event that was delivered twice one row. The history's counters are taken as they stand.
-- Keys with a missing dimension (NULL or blank) are put under the last date there is, where the swap leaves them behind
-- and the operator counts them.
INSERT INTO {{ stage_table }}
(
    stat_date, package_nm, server_type, os_type,
    visit, install, login, dau, revisit_7d, mau,
    crash_count, error_count, js_error_count, log_count,
    intervaltime_avg, lcp_avg, ttfb_avg, fcp_avg, inp_avg,
    pv, updated_at
)
WITH
    toDate(%(stat_date)s) AS day,
    toDate(65535) AS left_out,
    -- White space of any script, so that an ideographic space is no name either.
    '^[\\t-\\r\\x1c-\\x1f\\x{85}\\p{Z}]*$' AS blank
SELECT
    if(is_complete, day, left_out),
    package_nm,
    server_type,
    os_type,
    sum(visit),
    sum(install),
    sum(login),
    sum(dau),
    sum(revisit_7d),
    sum(mau),
    sum(crash_count),
    sum(error_count),
    sum(js_error_count),
    sum(log_count),
    -- Averages come from the pages alone, with one row per key, so their sum is that row's value.
    sum(intervaltime_avg),
    sum(lcp_avg),
    sum(ttfb_avg),
    sum(fcp_avg),
    sum(inp_avg),
    sum(pv),
    now64(3, 'UTC')
FROM
(
    -- The day's counters, from the day's own partition of the history.
    SELECT
        package_nm,
        server_type,
        os_type,
        NOT match(package_nm, blank) AND NOT match(os_type, blank) AS is_complete,
        sum(visit_cnt) AS visit,
        sum(install_cnt) AS install,
        sum(login_cnt) AS login,
        0 AS dau,
        0 AS revisit_7d,
        0 AS mau,
        0 AS crash_count,
        0 AS error_count,
        0 AS js_error_count,
        0 AS log_count,
        0. AS intervaltime_avg,
        0. AS lcp_avg,
        0. AS ttfb_avg,
        0. AS fcp_avg,
        0. AS inp_avg,
        0 AS pv
    FROM maxy_device_access_history
    WHERE log_date = day
    GROUP BY package_nm, server_type, os_type

    UNION ALL

    -- Devices: one pass over 30 days, which leaves one bit per day for each device; bit 0 is the day itself.
    SELECT
        package_nm,
        server_type,
        os_type,
        NOT match(package_nm, blank) AND NOT match(os_type, blank),
        0, 0, 0,
        countIf(bitTest(days_seen, 0)),
        countIf(bitTest(days_seen, 0) AND bitAnd(days_seen, 0b11111110) != 0),
        count(),
        0, 0, 0, 0,
        0., 0., 0., 0., 0.,
        0
    FROM
    (
        SELECT
            package_nm,
            server_type,
            os_type,
            groupBitOr(bitShiftLeft(toUInt32(1), day - log_date)) AS days_seen
        FROM maxy_device_access_history
        WHERE log_date BETWEEN day - 29 AND day
        GROUP BY device_id, package_nm, server_type, os_type
    )
    GROUP BY package_nm, server_type, os_type

    UNION ALL

    -- Pages: averages over the rows where the value is present; NaN and infinities are not values.
    SELECT
        ifNull(flow.package_nm, ''),
        ifNull(flow.server_type, 0),
        ifNull(flow.os_type, ''),
        isNotNull(flow.server_type)
            AND NOT match(ifNull(flow.package_nm, ''), blank)
            AND NOT match(ifNull(flow.os_type, ''), blank),
        0, 0, 0,
        0, 0, 0,
        ifNull(sum(crash_count), 0),
        ifNull(sum(error_count), 0),
        ifNull(sum(js_error_count), 0),
        ifNull(sum(log_count), 0),
        ifNull(avg(intervaltime), 0),
        ifNull(avg(if(isFinite(lcp), lcp, NULL)), 0),
        ifNull(avg(if(isFinite(ttfb), ttfb, NULL)), 0),
        ifNull(avg(if(isFinite(fcp), fcp, NULL)), 0),
        ifNull(avg(if(isFinite(inp), inp, NULL)), 0),
        count()
    FROM maxy_device_page_flow AS flow FINAL
    WHERE page_start_tm_dt >= toDateTime(%(day_start)s, 'UTC')
      AND page_start_tm_dt < toDateTime(%(day_end)s, 'UTC')
    GROUP BY flow.package_nm, flow.server_type, flow.os_type
)
GROUP BY is_complete, package_nm, server_type, os_type
