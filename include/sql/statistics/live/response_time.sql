-- Purpose: the response times that came in since an instant, as the points of the live scatter.
-- Source: maxy_app_total_log. Grain: as scatter.sql, whose blocks these are.
-- Safe to retry: reads only; a row that is read again has the same identity.
{% extends "statistics/live/scatter.sql" %}

{% block table %}maxy_app_total_log{% endblock %}

{% block value %}intervaltime{% endblock %}

{% block identity %}log_tm, device_id, mem_usage{% endblock %}

{% block values %}
                concat(replaceOne(toString(toTimeZone(reg_dt, 'UTC')), ' ', 'T'), 'Z'),
                package,
                source.server_type,
                nullIf({{ names.written("ifNull(os_type, '')") }}, ''),
                toValidUTF8(device_id),
                toValidUTF8(device_model),
                toValidUTF8(req_url),
                toValidUTF8(com_type),
                com_sensitivity,
                cpu_usage,
                toValidUTF8(sim_operator_nm),
                toValidUTF8(app_ver),
                intervaltime,
                log_tm,
                log_type,
                wait_time,
                download_time,
                response_size,
                request_size
{% endblock %}

{% block types %}
                reg_dt String,
                package_nm Nullable(String),
                server_type Nullable(UInt32),
                os_type Nullable(String),
                device_id String,
                device_model Nullable(String),
                req_url Nullable(String),
                com_type Nullable(String),
                com_sensitivity Nullable(UInt32),
                cpu_usage Nullable(UInt32),
                sim_operator_nm Nullable(String),
                app_ver Nullable(String),
                intervaltime Nullable(UInt32),
                log_tm UInt64,
                log_type UInt64,
                wait_time Nullable(UInt32),
                download_time Nullable(UInt32),
                response_size Nullable(UInt64),
                request_size Nullable(UInt64)
{% endblock %}

{% block conditions %}
      AND log_type IN {log_types:Array(UInt64)}
{% endblock %}
