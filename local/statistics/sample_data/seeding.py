"""Load the sample data through ClickHouse's HTTP interface, as the collectors would."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from local.statistics.sample_data.generator import SampleData, arrived_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

    from local.statistics.sample_data.generator import Columns

PAGE_FLOW = "maxy_device_page_flow"
TOTAL_LOG = "maxy_app_total_log"


@dataclass(frozen=True)
class SeedResult:
    """What one call of `seed` wrote.

    :param page_flow_rows: rows sent to maxy_device_page_flow, repeats included.
    :param total_log_rows: rows sent to maxy_app_total_log, repeats included.
    :param seconds: how long it took, generation included.
    """

    page_flow_rows: int
    total_log_rows: int
    seconds: float


def seed(
    client: Client,
    *,
    now: datetime,
    days: int = 40,
    end_day: date | None = None,
    scale: float = 1.0,
    seed: int = 1,
    timezone: str = "UTC",
    log_hours: int = 3,
    force: bool = False,
    report: Callable[[str], None] = print,
) -> SeedResult:
    """Send what has arrived by now of the sample data and is not there yet.

    A day that holds rows gets only those that arrived after its newest one. So a second call sends nothing, a
    call after an interruption goes on where that one ended, and one on the next day adds what came since.

    :param client: connected to the database of the source tables.
    :param now: aware; nothing that arrives later is sent.
    :param days: how many full days.
    :param end_day: the last of them; default: the day before now's, and then also today up to now, with the last
        `log_hours` of the total log.
    :param scale: 1.0 means about 25,000 page rows a day.
    :param timezone: IANA name of the zone whose midnights bound a day; the one the migrations were applied with.
    :param force: send everything, also what is there: repeats, which the counters of the history count again.
    :param report: takes the lines that say what is done.
    :raises ValueError: now is naive, or days is not positive.
    """
    if now.tzinfo is None:
        raise ValueError("now must be an aware datetime")
    if days < 1:
        raise ValueError(f"days must be positive, not {days}")
    started = time.monotonic()
    data = SampleData(seed=seed, scale=scale, timezone=timezone)
    today = now.astimezone(ZoneInfo(timezone)).date()
    last = end_day or today - timedelta(days=1)
    wanted = [last - timedelta(days=back) for back in reversed(range(days))]
    now_ms = int(now.timestamp() * 1000)

    page_flow_rows = total_log_rows = 0
    if end_day is None:
        wanted.append(today)
        total_log_rows = _send_total_log(client, data, today, now_ms, log_hours, force)
    for day in wanted:
        newest_ms = 0 if force else _newest_page_flow_ms(client, data, day)
        page_flow_rows += _send(client, PAGE_FLOW, data.page_flow(day), newest_ms, now_ms)

    result = SeedResult(page_flow_rows, total_log_rows, time.monotonic() - started)
    report(_summary(result, wanted))
    return result


def _summary(result: SeedResult, wanted: list[date]) -> str:
    span = f"{wanted[0]} to {wanted[-1]}"
    rows = result.page_flow_rows + result.total_log_rows
    if rows == 0:
        return f"sample data: {span} is there already, nothing sent (--force sends it again)"
    return (
        f"sample data: {span}, {result.page_flow_rows:,} page rows and {result.total_log_rows:,} log rows "
        f"in {result.seconds:.1f} s ({rows / result.seconds:,.0f} rows/s)"
    )


def _newest_page_flow_ms(client: Client, data: SampleData, day: date) -> int:
    start_ms, end_ms = data.bounds_ms(day)
    newest = client.query(
        "SELECT toUnixTimestamp64Milli(max(reg_dt)) FROM maxy_device_page_flow"
        " WHERE page_start_tm_dt >= toDateTime({start:UInt32}) AND page_start_tm_dt < toDateTime({end:UInt32})",
        parameters={"start": start_ms // 1000, "end": end_ms // 1000},
    )
    return int(newest.result_rows[0][0])


def _send_total_log(client: Client, data: SampleData, today: date, now_ms: int, hours: int, force: bool) -> int:
    """Send the last hours only: the table forgets after days, and its readers look at minutes."""
    after_ms = now_ms - hours * 3_600_000
    if not force:
        newest = client.query("SELECT toUnixTimestamp64Milli(max(reg_dt)) FROM maxy_app_total_log")
        after_ms = max(after_ms, int(newest.result_rows[0][0]))
    # Shortly after midnight the last hours begin on the day before.
    days = (today - timedelta(days=1), today)
    return sum(_send(client, TOTAL_LOG, data.total_log(day), after_ms, now_ms) for day in days)


def _send(client: Client, table: str, deliveries: list[Columns], after_ms: int, until_ms: int) -> int:
    """One insert per delivery: each is stored as a whole or not at all."""
    sent = 0
    for delivery in deliveries:
        columns = arrived_between(delivery, after_ms, until_ms)
        rows = len(columns["reg_dt"])
        if rows:
            client.insert(table, list(columns.values()), column_names=list(columns), column_oriented=True)
            sent += rows
    return sent
