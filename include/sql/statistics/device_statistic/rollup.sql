-- Purpose: the device and page statistics of one day, computed whole in ClickHouse.
-- Source: maxy_device_access_history (visits and devices), maxy_device_page_flow (pages).
-- Grain: one row per (stat_date, package_nm, server_type, os_type) that had a page on the day or a device on the 30 days that end
--   with it; a metric that one source lacks is 0.
-- Safe to retry: writes only its own stage table, which is swapped in as a whole afterwards.
--
-- FINAL makes an event that was delivered twice one row. Names are written by the rule of shared/names.sql, before devices are
-- counted, so that two spellings of one name share their devices. Values outside their metric's range are left out, of the history
-- the sums of one device, since a merge may have made one row of several.
-- What is left out is put under dates of its own (left_out_dates.sql), where the swap leaves it behind and left_out.sql counts it.
{% import "shared/names.sql" as names %}
{% import "shared/ranges.sql" as ranges %}
{% import "statistics/device_statistic/left_out_dates.sql" as dates %}
{% set metric = macros.maxy.metric_ranges() %}
{% set max_length = macros.maxy.max_name_length() %}
{% set history_metrics = ["visit", "install", "login"] %}
{% set page_counts = ["crash_count", "error_count", "js_error_count", "log_count"] %}
{% set page_averages = ["intervaltime", "lcp", "ttfb", "fcp", "inp"] %}
{% set unsigned = history_metrics + page_counts + ["intervaltime"] %}
INSERT INTO {{ stage_table }}
(
    stat_date, package_nm, server_type, os_type,
    visit, install, login, dau, revisit_7d, mau,
    crash_count, error_count, js_error_count, log_count,
    intervaltime_avg, lcp_avg, ttfb_avg, fcp_avg, inp_avg,
    pv, updated_at
)
WITH
    toDate(%(stat_date)s) AS day
SELECT
    multiIf(
        is_missing, {{ dates.missing_dimension }},
        is_too_long, {{ dates.name_too_long }},
        values_out, {{ dates.out_of_range }},
        day
    ),
    -- Of a name that is too long, enough to find it by.
    leftUTF8(package, {{ max_length }}),
    server,
    leftUTF8(os, {{ max_length }}),
    if(values_out, visit_out, visit),
    if(values_out, install_out, install),
    if(values_out, login_out, login),
    if(values_out, 0, dau),
    if(values_out, 0, revisit_7d),
    if(values_out, 0, mau),
    if(values_out, crash_count_out, crash_count),
    if(values_out, error_count_out, error_count),
    if(values_out, js_error_count_out, js_error_count),
    if(values_out, log_count_out, log_count),
    if(values_out, toFloat64(intervaltime_out), intervaltime_avg),
    if(values_out, toFloat64(lcp_out), lcp_avg),
    if(values_out, toFloat64(ttfb_out), ttfb_avg),
    if(values_out, toFloat64(fcp_out), fcp_avg),
    if(values_out, toFloat64(inp_out), inp_avg),
    if(values_out, 0, pv),
    now64(3, 'UTC')
FROM
(
    SELECT
        package,
        server,
        os,
        has_server = 0 OR package = '' OR os = '' AS is_missing,
        NOT is_missing
            AND NOT ({{ names.makes_a_key("package", max_length) }} AND {{ names.makes_a_key("os", max_length) }})
            AS is_too_long,
{%- for name in history_metrics + ["dau", "revisit_7d", "mau"] + page_counts %}
        sum(by_key.{{ name }}) AS {{ name }},
{%- endfor %}
        -- Divided at the very end: two spellings of one name are two rows until here.
{%- for name in page_averages %}
        sum(by_key.{{ name }}_sum) / greatest(sum(by_key.{{ name }}_values) - {{ name }}_out, 1) AS {{ name }}_avg,
{%- endfor %}
        sum(by_key.pv) AS pv,
{%- for name in history_metrics + page_counts + page_averages %}
        sum(by_key.{{ name }}_out) AS {{ name }}_out,
{%- endfor %}
        -- A key with values out of range has two rows: its figures, and how many values were left out of them.
        arrayJoin(if(
            NOT is_missing
                AND NOT is_too_long
                AND {% for name in history_metrics + page_counts + page_averages %}{{ name }}_out + {% endfor %}0 > 0,
            [0, 1],
            [0]
        )) AS values_out
    FROM
    (
        -- The day's counters, from the day's own partition of the history.
        SELECT
            package,
            server,
            os,
            1 AS has_server,
{%- for name in history_metrics %}
            {{ ranges.sum_within(name ~ "_of_device", metric[name], true) }} AS {{ name }},
{%- endfor %}
            toUInt64(0) AS dau,
            toUInt64(0) AS revisit_7d,
            toUInt64(0) AS mau,
{%- for name in page_counts %}
            toUInt64(0) AS {{ name }},
{%- endfor %}
{%- for name in page_averages %}
            0. AS {{ name }}_sum,
            toUInt64(0) AS {{ name }}_values,
{%- endfor %}
            toUInt64(0) AS pv,
{%- for name in history_metrics %}
            {{ ranges.count_outside(name ~ "_of_device", metric[name], true) }} AS {{ name }}_out,
{%- endfor %}
{%- for name in page_counts + page_averages %}
            toUInt64(0) AS {{ name }}_out{{ "" if loop.last else "," }}
{%- endfor %}
        FROM
        (
            SELECT
                {{ names.written("package_nm") }} AS package,
                server_type AS server,
                {{ names.written("os_type") }} AS os,
                sum(visit_cnt) AS visit_of_device,
                sum(install_cnt) AS install_of_device,
                sum(login_cnt) AS login_of_device
            FROM maxy_device_access_history
            WHERE log_date = day
            GROUP BY device_id, package, server, os
        )
        GROUP BY package, server, os

        UNION ALL

        -- Devices: one pass over 30 days, which leaves one bit per day for each device; bit 0 is the day itself.
        SELECT
            package,
            server,
            os,
            1,
            {% for name in history_metrics %}0, {% endfor %}

            countIf(bitTest(days_seen, 0)),
            countIf(bitTest(days_seen, 0) AND bitAnd(days_seen, 0b11111110) != 0),
            count(),
            {% for name in page_counts %}0, {% endfor %}

            {% for name in page_averages %}0., 0, {% endfor %}

            0,
            {% for name in history_metrics + page_counts + page_averages %}0{{ "" if loop.last else ", " }}{% endfor %}

        FROM
        (
            SELECT
                {{ names.written("package_nm") }} AS package,
                server_type AS server,
                {{ names.written("os_type") }} AS os,
                groupBitOr(bitShiftLeft(toUInt32(1), day - log_date)) AS days_seen
            FROM maxy_device_access_history
            WHERE log_date BETWEEN day - 29 AND day
            GROUP BY device_id, package, server, os
        )
        GROUP BY package, server, os

        UNION ALL

        -- Pages: averages over the rows where a plausible value is present.
        SELECT
            {{ names.written("ifNull(flow.package_nm, '')") }},
            ifNull(flow.server_type, 0),
            {{ names.written("ifNull(flow.os_type, '')") }},
            isNotNull(flow.server_type),
            {% for name in history_metrics %}0, {% endfor %}

            0, 0, 0,
{%- for name in page_counts %}
            {{ ranges.sum_within("flow." ~ name, metric[name], true) }},
{%- endfor %}
{%- for name in page_averages %}
            toFloat64({{ ranges.sum_within("flow." ~ name, metric[name], name in unsigned) }}),
            count(flow.{{ name }}),
{%- endfor %}
            count(),
            {% for name in history_metrics %}0, {% endfor %}

{%- for name in page_counts + page_averages %}
            {{ ranges.count_outside("flow." ~ name, metric[name], name in unsigned) }}{{ "" if loop.last else "," }}
{%- endfor %}
        FROM maxy_device_page_flow AS flow FINAL
        WHERE page_start_tm_dt >= toDateTime(%(day_start)s, 'UTC')
          AND page_start_tm_dt < toDateTime(%(day_end)s, 'UTC')
        GROUP BY flow.package_nm, flow.server_type, flow.os_type
    ) AS by_key
    GROUP BY package, server, os, has_server
)
