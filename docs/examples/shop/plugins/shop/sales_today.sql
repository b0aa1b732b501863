-- Purpose: orders and revenue of today so far. Source: shop_sales. Grain: one row per region.
--   Sales without a region are one row, of is_complete = 0. rows counts the rows of the source.
-- Safe to retry: reads only.
SELECT
    region != '' AS is_complete,
    region,
    count() AS orders,
    sum(amount) AS revenue,
    count() AS rows
FROM shop_sales
WHERE sold_at >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
  AND sold_at < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')
  AND amount >= {least_amount:Float64}
GROUP BY region
