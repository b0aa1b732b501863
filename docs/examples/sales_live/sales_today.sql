-- Purpose: orders and revenue of today so far. Source: sales. Grain: one row per country.
--   Sales without a country are one row, of is_complete = 0. rows counts the rows of the source.
-- Safe to retry: reads only.
SELECT
    country != '' AS is_complete,
    country,
    count() AS orders,
    toFloat64(sum(amount)) AS revenue,
    count() AS rows
FROM sales
WHERE sold_at >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND sold_at < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND amount >= {least_amount:Float64}
GROUP BY country
