{#
The one place where the plausible ranges of plugins/maxy/metric_ranges.py are applied: daily rollup, live loops, scatters.
A range is two numbers that were checked when the settings were read, so they stand in the statement as they are.
NaN lies outside every range; NULL is no value, and neither within nor outside.
#}
{# 1 for a plausible value, else 0 or NULL #}
{% macro within(value, range) -%}
({{ value }} BETWEEN {{ range.low }} AND {{ range.high }})
{%- endmacro %}

{# the value if it is plausible, else NULL #}
{% macro plausible(value, range) -%}
if({{ within(value, range) }}, {{ value }}, NULL)
{%- endmacro %}
