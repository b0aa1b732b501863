-- Incremental: what each build has seen is kept.
{{ config(materialized='incremental', incremental_strategy='append', order_by='id') }}
SELECT id, amount, toUInt8({{ var('build') }}) AS build
FROM {{ ref('orders') }}
