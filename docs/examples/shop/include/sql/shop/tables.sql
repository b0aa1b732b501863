-- Purpose: the tables of the shop. Grain: see each.
-- Safe to retry: makes what is not there.

-- A row per sale, as the tills send them.
CREATE TABLE IF NOT EXISTS shop_sales
(
    sold_at DateTime('UTC'),
    region LowCardinality(String),
    product String,
    amount Decimal(18, 2)
)
ENGINE = MergeTree
ORDER BY (region, sold_at);

-- A row per hour, region and product. One partition an hour and region: what is computed together is replaced together.
CREATE TABLE IF NOT EXISTS shop_sales_hourly
(
    hour DateTime('UTC'),
    region LowCardinality(String),
    product String,
    orders UInt64,
    revenue Decimal(18, 2)
)
ENGINE = MergeTree
PARTITION BY (hour, region)
ORDER BY product;
