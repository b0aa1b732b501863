-- Purpose: the one place where the plausible ranges of plugins/maxy/metric_ranges.py are applied: daily rollup, live loops, scatters.
-- Source: any columns. Grain: macros, for {% raw %}{% import "shared/ranges.sql" as ranges %}{% endraw %}.
-- Safe to retry: expressions only.
--
-- A range is two numbers that were checked when the settings were read, so they stand in the statement as they are. NULL is no
-- value and neither within nor outside a range; NaN and infinities are outside every one. Written so that it costs next to nothing
-- beside plain sums: no expression is Nullable, unsigned values are compared once, and there is no AND (names.sql says why).
{# 1 unless a column has a value outside the range #}
{% macro is_plausible(column, range, unsigned=false) -%}
{% set value = "ifNull(" ~ column ~ ", " ~ (range.low | round(0, "ceil") | int if unsigned else range.low) ~ ")" -%}
{% if unsigned and range.low == 0 -%}
({{ value }} <= {{ range.high }})
{%- else -%}
least({{ value }} >= {{ range.low }}, {{ value }} <= {{ range.high }})
{%- endif %}
{%- endmacro %}

{# the sum of a column's values inside the range, 0 if there is none #}
{% macro sum_within(column, range, unsigned=false) -%}
sumIf(ifNull({{ column }}, 0), {{ is_plausible(column, range, unsigned) }})
{%- endmacro %}

{# how many values of a column are outside the range #}
{% macro count_outside(column, range, unsigned=false) -%}
{% if unsigned and range.low == 0 -%}
countIf(ifNull({{ column }}, 0) > {{ range.high }})
{%- else -%}
countIf(NOT {{ is_plausible(column, range, unsigned) }})
{%- endif %}
{%- endmacro %}
