-- Purpose: visits and devices of today so far, the same figures as the daily rollup with today as its day.
-- Source: maxy_device_access_history. Grain: one row per (package_nm, server_type, os_type) seen on the 30 days that end with the day.
--   Keys without a name are one row, of is_complete = 0; rows counts the days on which each device was seen, …_out the values that
--   were left out because they are outside their metric's range.
-- Safe to retry: reads only.
--
-- One pass over 30 days leaves one bit per day for each device; bit 0 is today. The day's counters are read beside it, from today's
-- partition alone: carried along in the pass they would have to be read for all 30 days.
{% import "shared/names.sql" as names %}
{% import "shared/ranges.sql" as ranges %}
WITH
    {day:Date} AS today
SELECT
    {{ names.all_of([
        names.makes_a_key("by_key.package", max_name_length),
        names.makes_a_key("by_key.os", max_name_length),
    ]) }} AS is_complete,
    if(is_complete, by_key.package, '') AS package_nm,
    if(is_complete, by_key.server, 0) AS server_type,
    if(is_complete, by_key.os, '') AS os_type,
    sum(by_key.visits) AS visit,
    sum(by_key.installs) AS install,
    sum(by_key.logins) AS login,
    sum(by_key.devices) AS dau,
    sum(by_key.returned) AS revisit_7d,
    sum(by_key.devices_30d) AS mau,
    sum(by_key.visits_out) AS visit_out,
    sum(by_key.installs_out) AS install_out,
    sum(by_key.logins_out) AS login_out,
    sum(by_key.device_days) AS rows
FROM
(
    SELECT
        package,
        server,
        os,
        {{ ranges.sum_within("visits_of_device", metric_ranges.visit, true) }} AS visits,
        {{ ranges.sum_within("installs_of_device", metric_ranges.install, true) }} AS installs,
        {{ ranges.sum_within("logins_of_device", metric_ranges.login, true) }} AS logins,
        toUInt64(0) AS devices,
        toUInt64(0) AS returned,
        toUInt64(0) AS devices_30d,
        {{ ranges.count_outside("visits_of_device", metric_ranges.visit, true) }} AS visits_out,
        {{ ranges.count_outside("installs_of_device", metric_ranges.install, true) }} AS installs_out,
        {{ ranges.count_outside("logins_of_device", metric_ranges.login, true) }} AS logins_out,
        toUInt64(0) AS device_days
    FROM
    (
        SELECT
            {{ names.written("history.package_nm") }} AS package,
            history.server_type AS server,
            {{ names.written("history.os_type") }} AS os,
            sum(visit_cnt) AS visits_of_device,
            sum(install_cnt) AS installs_of_device,
            sum(login_cnt) AS logins_of_device
        FROM maxy_device_access_history AS history
        WHERE log_date = today
        GROUP BY history.device_id, package, server, os
    )
    GROUP BY package, server, os

    UNION ALL

    SELECT
        package,
        server,
        os,
        0, 0, 0,
        countIf(bitTest(days_seen, 0)),
        countIf(bitTest(days_seen, 0) AND bitAnd(days_seen, 0b11111110) != 0),
        count(),
        0, 0, 0,
        sum(bitCount(days_seen))
    FROM
    (
        SELECT
            {{ names.written("history.package_nm") }} AS package,
            history.server_type AS server,
            {{ names.written("history.os_type") }} AS os,
            groupBitOr(bitShiftLeft(toUInt32(1), today - log_date)) AS days_seen
        FROM maxy_device_access_history AS history
        WHERE log_date BETWEEN today - 29 AND today
        GROUP BY history.device_id, package, server, os
    )
    GROUP BY package, server, os
) AS by_key
GROUP BY is_complete, package_nm, server_type, os_type
