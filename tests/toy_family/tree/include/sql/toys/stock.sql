-- Purpose: toys in stock. Source: toys. Grain: one row per kind.
-- Safe to retry: reads only.
SELECT kind, sum(number) AS stock, count() AS rows
FROM toys
GROUP BY kind
