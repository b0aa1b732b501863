-- Purpose: the loading times that came in since an instant, as the points of the live scatter.
-- Source: maxy_device_page_flow. Grain: as scatter.sql, whose blocks these are.
-- Safe to retry: reads only; a row that is read again has the same identity.
{% extends "statistics/live/scatter.sql" %}

{% block table %}maxy_device_page_flow{% endblock %}

{% block value %}loading_time{% endblock %}

{% block identity %}page_start_tm, device_id, sum_mem_usage{% endblock %}

{% block values %}
                concat(replaceOne(toString(toTimeZone(reg_dt, 'UTC')), ' ', 'T'), 'Z'),
                package,
                source.server_type,
                nullIf({{ names.written("ifNull(os_type, '')") }}, ''),
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
{% endblock %}

{% block types %}
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
{% endblock %}

{% block conditions %}
{% if only_wtf_flag and log_types %}
      AND (wtf_flag = 'Y' OR log_type IN {log_types:Array(UInt64)})
{% elif only_wtf_flag %}
      AND wtf_flag = 'Y'
{% elif log_types %}
      AND log_type IN {log_types:Array(UInt64)}
{% endif %}
{% endblock %}
