-- Purpose: the loading times that came in since an instant, as the points of the live scatter.
-- Source: maxy_device_page_flow. Grain: one row per (package_nm, server_type, band) with its points as arrays: identity (a hash of the source's
--   key, also the point's place in the sample), reg_dt in epoch ms, the point as JSON. Rows that lack package_nm or server_type are only counted.
--   Without the rows whose identities are given as known (eight bytes each, in hexadecimal, as several texts).
--   With only_thresholds: per pair with more points than its cap, the identity of the last one that the cap admits.
-- Safe to retry: reads only; a row that is read again has the same identity.
{% if only_thresholds %}
SELECT
    pair AS pair_hash,
    arraySort(groupUniqArray(identity))[{caps:Array(UInt32)}[any(band) + 1]] AS threshold
{% else %}
SELECT
    isNotNull(server) AND NOT match(ifNull(package, ''), '^[\\t-\\r\\x1c-\\x1f\\x{85}\\p{Z}]*$') AS is_complete,
    ifNull(package, '') AS package_name,
    ifNull(server, 0) AS server_number,
    band,
    any(pair) AS pair_hash,
    countIf(arrived_ms >= {new_from_ms:Int64}) AS new_rows,
    if(is_complete, groupArray(identity), []) AS identities,
    if(is_complete, groupArray(arrived_ms), []) AS arrivals_ms,
    if(is_complete, groupArray(point), []) AS points
{% endif %}
FROM
(
    SELECT
        flow.package_nm AS package,
        flow.server_type AS server,
        multiIf(loading_time < {normal_from:UInt32}, 0, loading_time <= {normal_to:UInt32}, 1, 2) AS band,
        cityHash64(flow.package_nm, flow.server_type, band) AS pair,
        cityHash64(page_start_tm, device_id, sum_mem_usage) AS identity,
        toUnixTimestamp64Milli(reg_dt) AS arrived_ms,
        toJSONString(CAST(
            (
                concat(replaceOne(toString(toTimeZone(reg_dt, 'UTC')), ' ', 'T'), 'Z'),
                toValidUTF8(flow.package_nm),
                flow.server_type,
                toValidUTF8(os_type),
                toValidUTF8(device_id),
                toValidUTF8(user_id),
                toValidUTF8(page_id),
                toValidUTF8(device_model),
                toValidUTF8(req_url),
                toValidUTF8(com_type),
                avg_com_sensitivity,
                avg_cpu_usage,
                toValidUTF8(sim_operator_nm),
                toValidUTF8(app_ver),
                page_start_tm,
                page_end_tm,
                intervaltime,
                loading_time,
                response_time,
                log_type,
                toValidUTF8(wtf_flag)
            ),
            'Tuple(
                reg_dt String,
                package_nm Nullable(String),
                server_type Nullable(UInt32),
                os_type Nullable(String),
                device_id String,
                user_id Nullable(String),
                page_id Nullable(String),
                device_model Nullable(String),
                req_url Nullable(String),
                com_type Nullable(String),
                avg_com_sensitivity Nullable(UInt32),
                avg_cpu_usage Nullable(UInt32),
                sim_operator_nm Nullable(String),
                app_ver Nullable(String),
                page_start_tm UInt64,
                page_end_tm Nullable(UInt64),
                intervaltime Nullable(UInt32),
                loading_time Nullable(UInt32),
                response_time Nullable(UInt32),
                log_type Nullable(UInt64),
                wtf_flag Nullable(String)
            )'
        )) AS point
    FROM maxy_device_page_flow AS flow
    WHERE reg_dt >= fromUnixTimestamp64Milli({since_ms:Int64})
      AND reg_dt <= fromUnixTimestamp64Milli({until_ms:Int64})
      AND loading_time >= {low_from:UInt32}
{% if only_wtf_flag and log_types %}
      AND (wtf_flag = 'Y' OR log_type IN {log_types:Array(UInt64)})
{% elif only_wtf_flag %}
      AND wtf_flag = 'Y'
{% elif log_types %}
      AND log_type IN {log_types:Array(UInt64)}
{% endif %}
{% if thresholds %}
      AND identity <= transform(pair, {pairs:Array(UInt64)}, {thresholds:Array(UInt64)}, 18446744073709551615)
{% endif %}
{% if known_texts %}
      AND identity NOT IN (
          SELECT reinterpretAsUInt64(substring(
              unhex(concat(''{% for place in range(known_texts) %}, {known_{{ place }}:String}{% endfor %})), 1 + 8 * number, 8
          ))
          FROM numbers({known:UInt64})
      )
{% endif %}
{% if prune_parts %}
      AND {{ part_condition }}
{% endif %}
)
{% if only_thresholds %}
GROUP BY pair
HAVING threshold > 0
{% else %}
GROUP BY package, server, band
{% endif %}
