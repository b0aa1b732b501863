-- Fails when the variable is set low, as a test must be able to.
SELECT id, amount FROM {{ ref('orders') }} WHERE amount > {{ var('highest_amount') }}
