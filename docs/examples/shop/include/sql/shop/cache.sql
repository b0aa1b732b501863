-- Purpose: one hour of one region for readers in Valkey. Source: shop_sales_hourly. Grain: one row per product.
-- Safe to retry: reads only.
SELECT
    formatDateTime(hour, '%%Y-%%m-%%dT%%H') AS hour_utc,
    region,
    product,
    orders,
    revenue
FROM shop_sales_hourly
WHERE hour = toDateTime(%(hour)s, 'UTC') AND region = %(region)s
