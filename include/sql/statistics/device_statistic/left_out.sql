-- Purpose: what rollup.sql left out of the day, by cause, with the keys where most of it was.
-- Source: the stage table of a run. Grain: one row per cause, also for those that left nothing out.
-- Safe to retry: reads only.
{% import "statistics/device_statistic/left_out_dates.sql" as dates %}
{% macro of_cause(cause, date, count) %}
SELECT
    '{{ cause }}' AS cause,
    toUInt64(sum(number)) AS rows,
    arrayMap(worst -> worst.2, arraySlice(arrayReverseSort(groupArray((number, name))), 1, 10)) AS examples
FROM
(
    SELECT
        toUInt64({{ count }}) AS number,
        concat(leftUTF8(package_nm, 80), ' ', toString(server_type), ' ', leftUTF8(os_type, 80), ': ', toString(number)) AS name
    FROM {{ stage_table }}
    WHERE stat_date = {{ date }} AND number > 0
)
{% endmacro %}
{{ of_cause("page_flow rows left out for a missing dimension", dates.missing_dimension, "pv") }}
UNION ALL
{{ of_cause("devices left out for a missing dimension", dates.missing_dimension, "dau") }}
UNION ALL
{{ of_cause("page_flow rows left out for a name that is too long", dates.name_too_long, "pv") }}
UNION ALL
{{ of_cause("devices left out for a name that is too long", dates.name_too_long, "dau") }}
{% for name in [
    "visit", "install", "login", "crash_count", "error_count", "js_error_count", "log_count",
    "intervaltime_avg", "lcp_avg", "ttfb_avg", "fcp_avg", "inp_avg"
] %}
UNION ALL
{{ of_cause("values of " ~ name.removesuffix("_avg") ~ " out of range", dates.out_of_range, name) }}
{% endfor %}
