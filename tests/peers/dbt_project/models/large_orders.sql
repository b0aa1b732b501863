-- A view.
{{ config(materialized='view') }}
SELECT id, customer_id, amount FROM {{ ref('orders') }} WHERE amount >= 50
