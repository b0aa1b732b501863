-- Incremental: whole days are replaced, in one step each.
{{ config(materialized='incremental', incremental_strategy='insert_overwrite', partition_by='ordered_on', order_by='id') }}
SELECT id, amount, ordered_on, toUInt8({{ var('build') }}) AS build
FROM {{ ref('orders') }}
{% if is_incremental() %}
WHERE ordered_on >= toDate('{{ var("overwritten_from") }}')
{% endif %}
