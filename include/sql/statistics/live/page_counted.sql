-- Purpose: the columns of a row of the source that is counted: how page_count.sql and page_count_late.sql begin.
-- Source: maxy_device_page_flow, as flow. Grain: one row per row of the source that they choose.
-- Safe to retry: as those say.
--
-- A value outside its metric's range is none, and counted in the metric's …_out.
{% import "shared/ranges.sql" as ranges %}
{% set unsigned = ["crash_count", "error_count", "js_error_count", "log_count", "intervaltime"] %}
{% set metrics = unsigned + ["lcp", "ttfb", "fcp", "inp"] %}
INSERT INTO maxy_page_live_counted
(
    generation, stat_date, page_start_tm, row_hash, package_nm, server_type, os_type, has_server_type,
    {% for name in metrics %}{{ name }}, {{ name }}_out{{ "" if loop.last else ", " }}{% endfor %}

)
SELECT
    {generation:UInt64},
    {day:Date},
    flow.page_start_tm,
    cityHash64(flow.device_id, flow.sum_mem_usage) AS hash,
    ifNull(flow.package_nm, ''),
    ifNull(flow.server_type, 0),
    ifNull(flow.os_type, ''),
    isNotNull(flow.server_type),
{%- for name in metrics %}
    if({{ ranges.is_plausible("flow." ~ name, metric_ranges[name], name in unsigned) }}, flow.{{ name }}, NULL),
    NOT {{ ranges.is_plausible("flow." ~ name, metric_ranges[name], name in unsigned) }}{{ "" if loop.last else "," }}
{%- endfor %}
