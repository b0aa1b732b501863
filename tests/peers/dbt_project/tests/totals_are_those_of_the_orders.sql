SELECT t.amount AS total, o.amount AS of_orders
FROM (SELECT sum(amount) AS amount FROM {{ ref('customer_totals') }}) AS t
CROSS JOIN (SELECT sum(amount) AS amount FROM {{ ref('orders') }}) AS o
WHERE t.amount != o.amount
