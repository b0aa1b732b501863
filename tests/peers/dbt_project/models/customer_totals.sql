-- A table with a contract: its columns and their types are checked before it takes the place of the former one.
{{ config(order_by='customer_id') }}
SELECT
    c.id AS customer_id,
    c.name AS name,
    count() AS orders,
    sum(o.amount) AS amount
FROM {{ ref('customers') }} AS c
INNER JOIN {{ ref('orders') }} AS o ON o.customer_id = c.id
GROUP BY c.id, c.name
