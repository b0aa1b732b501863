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

# Rows as they arrive. A row follows from its number within the day alone, so a later statement can send it again:
# behind the fresh rows, every hundredth of those of a minute before. One in 200 fresh rows is committed up to 9 s after
# its reg_dt, and one in 500 tells of something that began up to 20 minutes before it would otherwise have.
_ARRIVALS = f"""
WITH
    number < {{fresh:UInt64}} AS is_fresh,
    toUInt64(if(
        is_fresh, {{first:UInt64}} + number, {{first_repeat:UInt64}} + (number - {{fresh:UInt64}}) * {_REPEAT_EVERY}
    )) AS position,
    cityHash64(position, {{midnight_ms:UInt64}}, {{seed:UInt32}}, 'arrival') AS random,
    cityHash64(random, 'value') AS value,
    random % 100 AS percent,
    {{midnight_ms:UInt64}} + intDiv(position * {{unit_ms:UInt64}}, {{unit_rows:UInt64}}) AS planned_ms,
    if(bitShiftRight(random, 8) % 200 = 0, bitShiftRight(random, 16) % 9000, 0) AS late_ms,
    toUInt64(planned_ms - late_ms) AS end_ms,
    toUInt32(1000 + bitShiftRight(random, 24) % 30000) AS duration_ms,
    toUInt64(
        end_ms - duration_ms - if(bitShiftRight(random, 32) % 500 = 0, bitShiftRight(random, 40) % 1200000, 0)
    ) AS start_ms,
    fromUnixTimestamp64Milli(toInt64(if(
        is_fresh, end_ms, {{from_ms:UInt64}} + (number - {{fresh:UInt64}}) % {{length_ms:UInt64}}
    ))) AS arrived_at,
    cityHash64(random, 'slot') % {{slots:UInt32}} AS slot,
    {_DIMENSIONS},
    concat('/api/v1/items?page=', toString(value % 1000)) AS url,
    arrayElement(['SM-S928N', 'iPhone16,2', 'Pixel 9', 'Chrome'], toUInt8(1 + value % 4)) AS model,
    arrayElement(['WIFI', 'LTE', '5G'], toUInt8(1 + value % 3)) AS network,
    arrayElement(['SKTelecom', 'KT', 'LG U+'], toUInt8(1 + value % 3)) AS operator"""

_ARRIVING_PAGE_FLOW = f"""
INSERT INTO maxy_device_page_flow
(
    reg_dt, device_id, page_start_tm, page_start_tm_dt, log_date, sum_mem_usage, package_nm, server_type, os_type,
    page_end_tm, intervaltime, loading_time, response_time, error_count, js_error_count, crash_count, log_count,
    lcp, fcp, ttfb, inp, cls, log_type, wtf_flag, page_id, page_name, req_url, user_id, device_model, app_ver, os_ver,
    com_type, avg_com_sensitivity, avg_cpu_usage, sim_operator_nm
)
{_ARRIVALS}
SELECT
    arrived_at,
    device_id,
    start_ms,
    toDateTime(intDiv(start_ms, 1000)),
    toDate(toDateTime(intDiv({{midnight_ms:UInt64}}, 1000) + 43200)),
    position,
    package_nm,
    server_type,
    os_type,
    end_ms,
    if(percent % 20 = 0, NULL, duration_ms),
    multiIf(
        percent < 10, NULL,
        percent < 13, value % 10,
        percent < 24, 10 + value % 90,
        percent < 90, 100 + value % 1401,
        1501 + value % 18500
    ),
    20 + bitShiftRight(value, 12) % 1000,
    toUInt32(value % 33 = 0),
    toUInt32(value % 20 = 0),
    toUInt32(value % 500 = 0),
    value % 25,
    if(os_type = 'Web', toFloat64(500 + bitShiftRight(value, 16) % 4000), NULL),
    if(os_type = 'Web', toFloat64(300 + bitShiftRight(value, 20) % 2000), NULL),
    if(os_type = 'Web', toFloat64(50 + bitShiftRight(value, 24) % 800), NULL),
    if(os_type = 'Web', toFloat64(20 + bitShiftRight(value, 28) % 400), NULL),
    if(os_type = 'Web', (value % 100) / 1000., NULL),
    multiIf(value % 10 = 0, 1048580, value % 1000 = 1, 1048597, 1048592),
    if(value % 3 = 0, 'Y', 'N'),
    concat('page-', toString(value % 40)),
    concat('Page ', toString(value % 40)),
    url,
    concat('user-', toString(slot)),
    model,
    '3.2.1',
    '15',
    network,
    1 + value % 4,
    1 + value % 99,
    operator
FROM numbers({{fresh:UInt64}} + {{repeats:UInt64}})"""

# Only what a reader of the newest rows must skip: the columns that it reads before it knows that a row is too old.
_INSERT_TOTAL_LOG = f"""
INSERT INTO maxy_app_total_log
(reg_dt, log_tm, log_tm_dt, device_id, log_type, mem_usage, package_nm, server_type, os_type, intervaltime)
WITH
    {{start_ms:UInt64}} + intDiv(number * {{length_ms:UInt64}}, {{rows:UInt64}}) AS happened_ms,
    cityHash64(number, {{seed:UInt32}}, 'log') AS random,
    random % {{slots:UInt32}} AS slot,
    {_DIMENSIONS}
SELECT
    fromUnixTimestamp64Milli(toInt64(happened_ms + 500)),
    happened_ms,
    toDateTime(intDiv(happened_ms, 1000)),
    device_id,
    multiIf(random % 10 < 4, 8388612, random % 10 < 6, 524291, 1048592),
    number,
    package_nm,
    server_type,
    os_type,
    if(random % 10 < 6, toUInt32(bitShiftRight(random, 8) % 3000), NULL)
FROM numbers({{rows:UInt64}})"""

_ARRIVING_TOTAL_LOG = f"""
INSERT INTO maxy_app_total_log
(
    reg_dt, log_tm, log_tm_dt, device_id, log_type, mem_usage, package_nm, server_type, os_type, intervaltime, req_url,
    page_id, user_id, device_model, app_ver, os_ver, com_type, com_sensitivity, sim_operator_nm, cpu_usage, status_code,
    response_size, request_size, wait_time, download_time
)
{_ARRIVALS}
SELECT
    arrived_at,
    end_ms,
    toDateTime(intDiv(end_ms, 1000)),
    device_id,
    multiIf(value % 10 < 4, 8388612, value % 10 < 6, 524291, 1048592),
    position,
    package_nm,
    server_type,
    os_type,
    multiIf(
        value % 10 >= 6, NULL,
        percent < 3, 0,
        percent < 24, 1 + value % 99,
        percent < 93, 100 + value % 1401,
        1501 + value % 18500
    ),
    url,
    concat('page-', toString(value % 40)),
    concat('user-', toString(slot)),
    model,
    '3.2.1',
    '15',
    network,
    1 + value % 4,
    operator,
    1 + value % 99,
    200,
    200 + value % 90000,
    100 + value % 3000,
    bitShiftRight(value, 8) % 400,
    bitShiftRight(value, 16) % 400
FROM numbers({{fresh:UInt64}} + {{repeats:UInt64}})"""


def fill_page_flow_day(
    client: Client,
    *,
    day: date,
    rows: int = 10_000_000,
    packages: int = 100,
    devices_per_day: int = 80_000,
    timezone: str = "UTC",
    seed: int = 1,
    until: datetime | None = None,
) -> int:
    """Fill one day of maxy_device_page_flow and return the number of rows sent, 1 % of them repeats.

    The rows are spread evenly over the day, or its time until an instant, and over packages x 2 server types x 3
    systems.

    :param client: connected to the database of the source tables.
    :param rows: distinct rows.
    :param devices_per_day: the same as given to `fill_access_history`, so that both know the same devices.
    :param timezone: IANA name of the zone whose midnights bound the day.
    :param until: before it all pages began, with its zone; by default the end of the day.
    """
    parameters = {
        **_population(seed, packages, devices_per_day),
        **_span(day, timezone, until),
        "day": day.isoformat(),
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
            **_population(seed, packages, devices_per_day),
            "day": (end_day - timedelta(days=back)).isoformat(),
        }
        client.command(_INSERT_ACCESS_HISTORY, parameters={**parameters, "every": 1})
        client.command(_INSERT_ACCESS_HISTORY, parameters={**parameters, "every": _REPEAT_EVERY})
        client.command(_INSERT_ACCESS_BITMAP, parameters={"day": parameters["day"]})


def fill_total_log_day(
    client: Client,
    *,
    day: date,
    rows: int = 10_000_000,
    packages: int = 100,
    devices_per_day: int = 80_000,
    timezone: str = "UTC",
    seed: int = 1,
    until: datetime | None = None,
) -> None:
    """Fill one day of maxy_app_total_log, evenly until an instant or its end; arguments as in `fill_page_flow_day`."""
    parameters = {**_population(seed, packages, devices_per_day), **_span(day, timezone, until), "rows": rows}
    client.command(_INSERT_TOTAL_LOG, parameters=parameters)


def insert_arrivals(
    client: Client,
    *,
    start: datetime,
    length: timedelta,
    rate: int,
    packages: int = 100,
    devices_per_day: int = 80_000,
    timezone: str = "UTC",
    seed: int = 1,
    total_log: bool = True,
    page_flow: bool = True,
) -> None:
    """Insert what arrives in an interval into maxy_app_total_log and maxy_device_page_flow, each in one insert.

    reg_dt lies in the interval for all rows but the few that are committed late. The same interval must not be inserted
    twice; 1 % of the rows are those of the minute before, sent again.

    :param client: connected to the database of the source tables.
    :param start: the interval's, with its zone; whole seconds, more than a minute after midnight.
    :param length: the interval's; whole seconds.
    :param rate: fresh rows a second into each of the tables.
    :param timezone: IANA name of the zone whose midnights bound the day.
    """
    midnight = datetime.combine(start.astimezone(ZoneInfo(timezone)).date(), time(), ZoneInfo(timezone)).timestamp()
    offset, seconds = int(start.timestamp() - midnight), int(length.total_seconds())
    parameters = {
        **_population(seed, packages, devices_per_day),
        "midnight_ms": int(midnight) * 1000,
        "unit_rows": rate,
        "unit_ms": 1000,
        "first": offset * rate,
        "fresh": seconds * rate,
        "first_repeat": (offset - _REPEAT_DELAY_MS // 1000) * rate,
        "repeats": seconds * rate // _REPEAT_EVERY,
        "from_ms": int(start.timestamp()) * 1000,
        "length_ms": seconds * 1000,
    }
    if total_log:
        client.command(_ARRIVING_TOTAL_LOG, parameters=parameters)
    if page_flow:
        client.command(_ARRIVING_PAGE_FLOW, parameters=parameters)


def _population(seed: int, packages: int, devices_per_day: int) -> dict[str, int]:
    return {"seed": seed, "packages": packages, "slots": devices_per_day * _ACTIVE_ONE_IN}


def _span(day: date, timezone: str, until: datetime | None) -> dict[str, int]:
    """Return where a day's rows begin, and over how long they are spread."""
    zone = ZoneInfo(timezone)
    start, end = (datetime.combine(day + timedelta(days=plus), time(), zone).timestamp() for plus in (0, 1))
    end = until.timestamp() if until else end
    return {"start_ms": int(start) * 1000, "length_ms": int(end - start) * 1000}
