-- Purpose: the dates under which rollup.sql puts what does not belong into the day.
-- Source: none. Grain: constants, for {% raw %}{% import "statistics/device_statistic/left_out_dates.sql" as dates %}{% endraw %}.
-- Safe to retry: expressions only.
--
-- The swap leaves these rows behind, and left_out.sql counts them. They are the last dates that the type has; no run computes a day
-- that late.
{% set missing_dimension = 'toDate(65535)' %}
{% set name_too_long = 'toDate(65534)' %}
{# In the rows of this date each column is the number of its values that were out of range. #}
{% set out_of_range = 'toDate(65533)' %}
