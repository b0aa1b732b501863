"""Large volumes for benchmarks, made by the server itself.

Unlike the rows of `generator`, nothing of these passes through Python. They have the shape that costs depend on
(row counts, keys, devices that come back, 1 % repeats), not the awkward names.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# One in this many devices of the population is there on a day, so about devices_per_day of them.
_ACTIVE_ONE_IN = 4

# Package, server type and system follow from the device's slot; low package numbers are the large ones.
_DIMENSIONS = """
    concat('com.maxy.bulk.', leftPad(toString(toUInt32(
        floor(pow(cityHash64(slot, {seed:UInt32}, 'package') / 18446744073709551616., 2) * {packages:UInt32})
    )), 4, '0')) AS package_nm,
    toUInt32(cityHash64(slot, {seed:UInt32}, 'server') % 2) AS server_type,
    arrayElement(['Android', 'iOS', 'Web'], toUInt8(1 + cityHash64(slot, {seed:UInt32}, 'system') % 3)) AS os_type,
    concat('bulk-', lower(hex(cityHash64(slot, {seed:UInt32})))) AS device_id"""

# Only pages: the history is filled by `fill_access_history`, the view must not add to it.
_INSERT_PAGE_FLOW = f"""
INSERT INTO maxy_device_page_flow
(
    reg_dt, device_id, page_start_tm, page_start_tm_dt, log_date, sum_mem_usage, package_nm, server_type, os_type,
    page_end_tm, intervaltime, loading_time, response_time, error_count, js_error_count, crash_count, log_count,
    lcp, fcp, ttfb, inp, cls, log_type, wtf_flag, page_id, device_model
)
WITH
    cityHash64(number, {{seed:UInt32}}, 'metrics') AS random,
    {{start_ms:UInt64}} + intDiv(number * {{length_ms:UInt64}}, {{rows:UInt64}}) AS start_ms,
    cityHash64(number, {{seed:UInt32}}, 'slot') % {{slots:UInt32}} AS slot,
    {_DIMENSIONS},
    toUInt32(1000 + random % 30000) AS duration_ms
SELECT
    fromUnixTimestamp64Milli(toInt64(start_ms + duration_ms + {{delay_ms:UInt32}})),
    device_id,
    start_ms,
    toDateTime(intDiv(start_ms, 1000)),
    toDate({{day:String}}),
    number,
    package_nm,
    server_type,
    os_type,
    start_ms + duration_ms,
    if(random % 20 = 0, NULL, duration_ms),
    if(random % 7 = 0, NULL, toUInt32(50 + bitShiftRight(random, 8) % 3000)),
    toUInt32(20 + bitShiftRight(random, 12) % 1000),
    toUInt32(random % 33 = 0),
    toUInt32(random % 20 = 0),
    toUInt32(random % 500 = 0),
    random % 25,
    if(os_type = 'Web', toFloat64(500 + bitShiftRight(random, 16) % 4000), NULL),
    if(os_type = 'Web', toFloat64(300 + bitShiftRight(random, 20) % 2000), NULL),
    if(os_type = 'Web', toFloat64(50 + bitShiftRight(random, 24) % 800), NULL),
    if(os_type = 'Web', toFloat64(20 + bitShiftRight(random, 28) % 400), NULL),
    if(os_type = 'Web', (random % 100) / 1000., NULL),
    1048592,
    if(random % 5 = 0, 'Y', 'N'),
    concat('page-', toString(random % 40)),
    concat('model-', toString(random % 12))
FROM numbers({{rows:UInt64}})
WHERE number % {{every:UInt32}} = 0"""

_INSERT_ACCESS_HISTORY = f"""
INSERT INTO maxy_device_access_history
(log_date, package_nm, server_type, os_type, device_id, visit_cnt, install_cnt, login_cnt)
WITH
    number AS slot,
    cityHash64(number, {{day:String}}, {{seed:UInt32}}) AS random,
    {_DIMENSIONS}
SELECT
    toDate({{day:String}}),
    package_nm,
    server_type,
    os_type,
    device_id,
    1 + bitShiftRight(random, 8) % 3,
    toUInt64(bitShiftRight(random, 16) % 50 = 0),
    toUInt64(0)
FROM numbers({{slots:UInt32}})
WHERE random % {_ACTIVE_ONE_IN} = 0 AND number % {{every:UInt32}} = 0"""

_INSERT_ACCESS_BITMAP = """
INSERT INTO maxy_device_access_bitmap (log_date, package_nm, server_type, os_type, users)
SELECT log_date, package_nm, server_type, os_type, groupBitmapState(CRC64(device_id))
FROM maxy_device_access_history
WHERE log_date = toDate({day:String})
GROUP BY log_date, package_nm, server_type, os_type"""

_REPEAT_EVERY = 100
_REPEAT_DELAY_MS = 60_000


def fill_page_flow_day(
    client: Client,
    *,
    day: date,
    rows: int = 10_000_000,
    packages: int = 100,
    devices_per_day: int = 80_000,
    timezone: str = "UTC",
    seed: int = 1,
) -> int:
    """Fill one day of maxy_device_page_flow and return the number of rows sent, 1 % of them repeats.

    The rows are spread evenly over the day and over packages x 2 server types x 3 systems.

    :param client: connected to the database of the source tables.
    :param rows: distinct rows.
    :param devices_per_day: the same as given to `fill_access_history`, so that both know the same devices.
    :param timezone: IANA name of the zone whose midnights bound the day.
    """
    zone = ZoneInfo(timezone)
    start, end = (datetime.combine(day + timedelta(days=plus), time(), zone).timestamp() for plus in (0, 1))
    parameters = {
        "seed": seed,
        "packages": packages,
        "slots": devices_per_day * _ACTIVE_ONE_IN,
        "day": day.isoformat(),
        "start_ms": int(start) * 1000,
        "length_ms": int(end - start) * 1000,
        "rows": rows,
    }
    client.command(_INSERT_PAGE_FLOW, parameters={**parameters, "every": 1, "delay_ms": 2_000})
    repeat = {"every": _REPEAT_EVERY, "delay_ms": _REPEAT_DELAY_MS}
    client.command(_INSERT_PAGE_FLOW, parameters={**parameters, **repeat})
    return rows + -(-rows // _REPEAT_EVERY)


def fill_access_history(
    client: Client,
    *,
    end_day: date,
    days: int = 30,
    devices_per_day: int = 80_000,
    packages: int = 100,
    seed: int = 1,
) -> None:
    """Fill the days up to end_day of maxy_device_access_history and, with the same devices, of its bitmap.

    A quarter of four times `devices_per_day` devices is there on each day, so a device is seen on 7 or 8 of 30
    days. 1 % of the device-days are delivered twice.

    :param client: connected to the database of the source tables.
    :param end_day: the last day that is filled.
    """
    for back in reversed(range(days)):
        parameters = {
            "seed": seed,
            "packages": packages,
            "slots": devices_per_day * _ACTIVE_ONE_IN,
            "day": (end_day - timedelta(days=back)).isoformat(),
        }
        client.command(_INSERT_ACCESS_HISTORY, parameters={**parameters, "every": 1})
        client.command(_INSERT_ACCESS_HISTORY, parameters={**parameters, "every": _REPEAT_EVERY})
        client.command(_INSERT_ACCESS_BITMAP, parameters={"day": parameters["day"]})
