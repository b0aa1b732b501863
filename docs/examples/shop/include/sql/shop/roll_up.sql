-- Purpose: sales of one hour and region. Source: shop_sales. Grain: one row per product.
-- Safe to retry: fills the stage table of this try, which is swapped in as a whole.
INSERT INTO {{ stage_table }} (hour, region, product, orders, revenue)
SELECT
    toStartOfHour(sold_at) AS hour,
    region,
    product,
    count() AS orders,
    sum(amount) AS revenue
FROM shop_sales
WHERE sold_at >= toDateTime(%(hour)s, 'UTC')
  AND sold_at < toDateTime(%(hour)s, 'UTC') + INTERVAL 1 HOUR
  AND region = %(region)s
GROUP BY hour, region, product
