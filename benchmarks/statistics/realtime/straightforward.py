"""The ways one would write the live loops first: no state, and the rows come to Python.

Each is a function of a moment; the same connections' libraries as the loops use, on the same data. None of them counts
exactly: a repeat is two pages, and rows that share the cursor's millisecond or come late are lost.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import redis

from benchmarks.statistics.realtime.measure import Cost, Meter, Ports, wait_until_merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

_PREFIX = "straightforward"
_NO_CACHE = {"use_query_condition_cache": 0, "max_threads": 2}
_WINDOW = timedelta(minutes=5)
_BAND_CAP = 2000
_PIPELINE = 1000

_DIMENSIONS = ("package_nm", "server_type", "os_type")
_COUNTERS = """
SELECT package_nm, server_type, os_type, sum(visit_cnt) AS visit, sum(install_cnt) AS install, sum(login_cnt) AS login
FROM maxy_device_access_history WHERE log_date = {day:Date} GROUP BY package_nm, server_type, os_type
"""
_BITMAPS = """
SELECT
    package_nm, server_type, os_type,
    bitmapCardinality(today) AS dau, bitmapAndCardinality(today, week) AS revisit_7d, bitmapCardinality(month) AS mau
FROM
(
    SELECT
        package_nm, server_type, os_type,
        groupBitmapMergeStateIf(users, log_date = {day:Date}) AS today,
        groupBitmapMergeStateIf(users, log_date >= {day:Date} - 7 AND log_date < {day:Date}) AS week,
        groupBitmapMergeState(users) AS month
    FROM maxy_device_access_bitmap
    WHERE log_date >= {day:Date} - 30 AND log_date <= {day:Date}
    GROUP BY package_nm, server_type, os_type
)
"""
_PAGES = """
SELECT
    package_nm, server_type, os_type,
    sum(crash_count) AS crash_count, sum(error_count) AS error_count, sum(js_error_count) AS js_error_count,
    sum(log_count) AS log_count, avg(intervaltime) AS intervaltime_avg, avg(lcp) AS lcp_avg, avg(ttfb) AS ttfb_avg,
    avg(fcp) AS fcp_avg, avg(inp) AS inp_avg, count() AS pv
FROM maxy_device_page_flow
WHERE page_start_tm_dt >= toDateTime({day:Date}, 'UTC') AND page_start_tm_dt < toDateTime({day:Date} + 1, 'UTC')
GROUP BY package_nm, server_type, os_type
"""
_LOG_COUNTS = """
SELECT package_nm, server_type, count() AS log_count, toString(max(reg_dt)) AS last_reg_dt
FROM maxy_app_total_log WHERE reg_dt > {since:DateTime64(3, 'UTC')} GROUP BY package_nm, server_type
"""
_LOADING_TIMES = """
SELECT
    reg_dt, package_nm, server_type, os_type, device_id, user_id, page_id, device_model, req_url, com_type,
    avg_com_sensitivity, avg_cpu_usage, sim_operator_nm, app_ver, page_start_tm, page_end_tm, intervaltime,
    loading_time, response_time, log_type, wtf_flag
FROM maxy_device_page_flow
WHERE reg_dt >= {since:DateTime64(3, 'UTC')} AND reg_dt <= {until:DateTime64(3, 'UTC')} AND loading_time >= 10
"""
_RESPONSE_TIMES = """
SELECT
    reg_dt, package_nm, server_type, os_type, device_id, device_model, req_url, com_type, com_sensitivity, cpu_usage,
    sim_operator_nm, app_ver, intervaltime, log_tm, log_type, wait_time, download_time, response_size, request_size
FROM maxy_app_total_log
WHERE reg_dt >= {since:DateTime64(3, 'UTC')} AND reg_dt <= {until:DateTime64(3, 'UTC')} AND intervaltime > 0
    AND log_type IN (524291, 8388612)
"""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    :param now: the last tick of the loops, in UTC.
    :param rounds: counted ticks of each way by name; one more comes first where a tick is cheap.
    """

    now: datetime
    rounds: Mapping[str, int]


def measure_straightforward(ports: Ports, plan: Plan) -> dict[str, list[Cost]]:
    """Measure in this process, which should have done nothing else before."""
    with (
        clickhouse_connect.get_client(**ports.http, send_receive_timeout=600, tz_mode="aware") as client,
        redis.Redis(port=ports.valkey_port) as valkey,
        redis.Redis(port=ports.valkey_port, decode_responses=True) as counters,
    ):
        ways = _Ways(ports, client, valkey, plan.now)
        meter = Meter(ports, counters, client)
        numbers: dict[str, list[int]] = defaultdict(list)
        for name, rounds in plan.rounds.items():
            way: Callable[[], None] = getattr(ways, name)
            for number in range(rounds + (rounds > 2)):
                wait_until_merged(client)
                meter.start()
                way()
                measured = meter.stop()
                if number or rounds <= 2:
                    numbers[name].append(measured)
        costs = meter.costs()
    return {name: [costs[number] for number in of_name] for name, of_name in numbers.items()}


class _Ways:
    def __init__(self, ports: Ports, client: Client, valkey: redis.Redis, now: datetime) -> None:
        self._ports = ports
        self._client = client
        self._valkey = valkey
        self._now = now

    def device(self) -> None:
        """Merge 31 daily bitmaps, and sum today's counters."""
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for query in (_COUNTERS, _BITMAPS):
            for row in self._rows(query, {"day": self._now.date()}):
                rows.setdefault(tuple(row[name] for name in _DIMENSIONS), {}).update(row)
        self._write_hashes("device", rows.values())

    def page(self) -> None:
        """Scan the whole day."""
        self._write_hashes("page", self._rows(_PAGES, {"day": self._now.date()}))

    def log_meter(self) -> None:
        """Count what is newer than the cursor, on a client made for this tick."""
        with clickhouse_connect.get_client(**self._ports.http) as client:
            result = client.query(_LOG_COUNTS, {"since": self._now - timedelta(seconds=5)}, settings=_NO_CACHE)
            newest = client.query(
                "SELECT max(reg_dt) FROM maxy_app_total_log WHERE reg_dt > {since:DateTime64(3, 'UTC')}",
                {"since": self._now - timedelta(seconds=5)},
                settings=_NO_CACHE,
            )
        self._write_hashes("totallog", list(result.named_results()), dimensions=2)
        self._valkey.set(f"{_PREFIX}:totallog:cursor", str(newest.result_rows[0][0]))

    def loading_time(self) -> None:
        """Fetch the window's rows, sample, and write the sets anew."""
        self._scatter("loadingtime", _LOADING_TIMES, "loading_time")

    def response_time(self) -> None:
        """Likewise."""
        self._scatter("responsetime", _RESPONSE_TIMES, "intervaltime")

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(self._client.query(query, parameters=dict(parameters), settings=_NO_CACHE).named_results())

    def _write_hashes(self, kind: str, rows: Iterable[dict[str, Any]], *, dimensions: int = 3) -> None:
        pipeline = self._valkey.pipeline(transaction=False)
        for row in rows:
            name = ":".join(str(row[column]) for column in _DIMENSIONS[:dimensions])
            values: dict[Any, Any] = {column: value or 0 for column, value in row.items()}
            values["updated_at"] = datetime.now(UTC).isoformat()
            pipeline.hset(f"{_PREFIX}:{kind}:{name}", mapping=values)
            pipeline.expire(f"{_PREFIX}:{kind}:{name}", 3600)
        pipeline.execute()

    def _scatter(self, kind: str, query: str, value: str) -> None:
        points: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
        for row in self._rows(query, {"since": self._now - _WINDOW, "until": self._now}):
            points[row["package_nm"], row["server_type"]].append(row)
        for (package, server), of_key in points.items():
            self._write_points(f"{_PREFIX}:{kind}:{package}:{server}", _sampled(of_key, value))

    def _write_points(self, key: str, points: Sequence[dict[str, Any]]) -> None:
        pipeline = self._valkey.pipeline(transaction=False)
        pipeline.delete(key)
        for number, point in enumerate(points, start=1):
            pipeline.zadd(key, {json.dumps(point, default=str): point["reg_dt"].timestamp() * 1000})
            if number % _PIPELINE == 0:
                pipeline.execute()
        pipeline.hset(f"{key}:meta", mapping={"last_saved_at": time.time(), "points": len(points)})
        pipeline.expire(key, 600)
        pipeline.execute()


def _sampled(rows: list[dict[str, Any]], value: str) -> list[dict[str, Any]]:
    """All rows but those of the middle band, of which a sample."""
    band = [row for row in rows if 100 <= row[value] <= 1500]
    others = [row for row in rows if not 100 <= row[value] <= 1500]
    return others + (random.sample(band, _BAND_CAP) if len(band) > _BAND_CAP else band)
