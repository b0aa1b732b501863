-- Incremental: orders that are new or changed since the last build replace those of the same id.
{{ config(materialized='incremental', incremental_strategy='delete_insert', unique_key='id', order_by='id') }}
SELECT id, customer_id, amount, updated_at, toUInt8({{ var('build') }}) AS build
FROM {{ ref('orders') }}
{% if is_incremental() %}
WHERE updated_at > (SELECT max(updated_at) FROM {{ this }})
{% endif %}
