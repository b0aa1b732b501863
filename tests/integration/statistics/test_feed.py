"""The feed against real tables: what its ledger says is what they hold, also after the server was killed meanwhile."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import clickhouse_connect
import pytest

from embedded_clickhouse.testing import running_server
from local.settings import read_settings
from local.stack import Progress, Stack
from local.statistics.exact_insert import ClickHouseStore, Clock, Ledger, NotSent, Sender, StoreError
from local.statistics.feed import Feed
from local.statistics.sample_data.live import KEY_COLUMNS, LATEST_COMMIT_MS, LiveTraffic
from local.statistics.sample_data.seeding import PAGE_FLOW, TOTAL_LOG
from scripts.migrate import Migrations
from tests.support import make_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server
    from local.statistics.sample_data.live import Delivery

ROOT = Path(__file__).resolve().parents[3]
TIMEZONE = "Asia/Seoul"
# Ten seconds before a midnight in Seoul, so that inserts fall into two partitions.
START = datetime(2026, 11, 21, 14, 59, 50, tzinfo=UTC)
START_MS = int(START.timestamp()) * 1000
TABLES = (PAGE_FLOW, TOTAL_LOG)


class Time:
    """A clock that moves when someone waits."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.clock = Clock(now_ms=lambda: self.ms, pause=self.pause)

    def pause(self, seconds: float) -> bool:
        self.ms += round(seconds * 1000)
        return False


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "clickhouse"


def serve(directory: Path) -> Any:
    return running_server(directory, timezone="UTC", user="maxy", password="secret", database="maxy")


@pytest.fixture
def server(directory: Path) -> Iterator[Server]:
    with serve(directory) as server:
        make_tables(server, database="maxy", timezone=TIMEZONE)
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Repeats stay what they are: rows of their own, as long as nothing merges them."""
    with clickhouse_connect.get_client(**server.http_arguments()) as client:
        prevent_merges(client)
        yield client


def prevent_merges(client: Client) -> None:
    """For good, also after a restart: no part is small enough to be merged."""
    for table in TABLES:
        client.command(
            f"ALTER TABLE {table} MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1,"
            " max_bytes_to_merge_at_min_space_in_pool = 1"
        )


def run_feed(store: Any, ledger: Path, *, seconds: int, rate: float) -> tuple[Time, Sender]:
    clock = Time()
    sender = Sender(store, clock.clock, Ledger(ledger), lambda line: None)
    traffic = LiveTraffic(rate=rate, timezone=TIMEZONE)
    Feed(traffic, sender, clock.clock, report=lambda line: None).run(seconds)
    return clock, sender


def sent(seconds: int, rate: float) -> list[Delivery]:
    traffic = LiveTraffic(rate=rate, timezone=TIMEZONE)
    starts = [START_MS + at * 1000 for at in range(seconds)]
    return [delivery for start_ms in starts for delivery in traffic.batch(start_ms, start_ms + 1000)]


def counts_in(ledger: Path) -> Counter[tuple[Any, ...]]:
    """Rows per table, package and server type."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for line in ledger.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        for package, server_type, rows in entry["counts"]:
            counts[entry["table"], package, server_type] += rows
    return counts


def counts_of_tables(client: Client) -> Counter[tuple[Any, ...]]:
    return Counter(
        {
            (table, package, server_type): rows
            for table in TABLES
            for package, server_type, rows in client.query(
                f"SELECT package_nm, server_type, count() FROM {table} GROUP BY ALL"
            ).result_rows
        }
    )


def keys_of_tables(client: Client) -> Counter[tuple[Any, ...]]:
    return Counter(
        (table, row)
        for table, columns in KEY_COLUMNS.items()
        for row in client.query(f"SELECT {', '.join(columns)} FROM {table}").result_rows
    )


def keys_of(deliveries: Sequence[Delivery]) -> Counter[tuple[Any, ...]]:
    return Counter((delivery.table, key) for delivery in deliveries for key in delivery.event_keys())


def test_every_value_is_stored_as_it_was_made(server: Server, client: Client, tmp_path: Path) -> None:
    run_feed(ClickHouseStore(server.http_arguments()), tmp_path / "ledger", seconds=12, rate=100)

    for table in TABLES:
        deliveries = [delivery for delivery in sent(12, 100) if delivery.table == table]
        names = list(deliveries[0].columns)
        expected = Counter(tuple(map(repr, values)) for delivery in deliveries for values in delivery.rows())
        # As numbers and texts, which is what the deliveries have.
        shown = [
            {"page_start_tm_dt": "toUnixTimestamp(page_start_tm_dt)", "log_tm_dt": "toUnixTimestamp(log_tm_dt)"}.get(
                name, "toString(log_date)" if name == "log_date" else name
            )
            for name in names
        ]
        rows = client.query(f"SELECT {', '.join(shown)} FROM {table}").result_rows
        assert Counter(tuple(map(repr, row)) for row in rows) == expected


def test_the_ledger_is_what_the_tables_hold(server: Server, client: Client, tmp_path: Path) -> None:
    run_feed(ClickHouseStore(server.http_arguments()), tmp_path / "ledger", seconds=30, rate=300)

    assert keys_of_tables(client) == keys_of(sent(30, 300))
    counts = counts_in(tmp_path / "ledger")
    assert counts == counts_of_tables(client)
    assert max(keys_of_tables(client).values()) == 2, "repeats are rows of their own"


def test_the_server_dates_most_rows_and_the_others_carry_instants_of_seconds_ago(
    server: Server, client: Client, tmp_path: Path
) -> None:
    # The feed's own clock stands at another day.
    began = time.time_ns() // 1_000_000
    clock, _ = run_feed(ClickHouseStore(server.http_arguments()), tmp_path / "ledger", seconds=12, rate=300)
    ended = time.time_ns() // 1_000_000

    for table in TABLES:
        reg_dts = [row[0] for row in client.query(f"SELECT toUnixTimestamp64Milli(reg_dt) FROM {table}").result_rows]
        stamped = [reg_dt for reg_dt in reg_dts if START_MS + 1000 - LATEST_COMMIT_MS <= reg_dt <= clock.ms]
        by_server = [reg_dt for reg_dt in reg_dts if began <= reg_dt <= ended]
        assert len(stamped) + len(by_server) == len(reg_dts)
        assert 0.01 < len(stamped) / len(reg_dts) < 0.05


def test_the_views_fill_history_and_bitmap(server: Server, client: Client, tmp_path: Path) -> None:
    run_feed(ClickHouseStore(server.http_arguments()), tmp_path / "ledger", seconds=30, rate=300)

    rows = [
        dict(zip(delivery.columns, values, strict=True))
        for delivery in sent(30, 300)
        if delivery.table == PAGE_FLOW
        for values in delivery.rows()
    ]
    visits = [row for row in rows if row["log_type"] in (1048597, 1048580) and row["server_type"] is not None]
    installs = sum(row["log_type"] == 1048597 for row in visits)
    assert client.query(
        "SELECT sum(visit_cnt), sum(install_cnt), uniqExact(device_id), uniqExact(log_date)"
        " FROM maxy_device_access_history"
    ).result_rows == [
        (len(visits), installs, len({row["device_id"] for row in visits}), len({row["log_date"] for row in visits}))
    ]
    assert installs > 0
    assert client.query("SELECT groupBitmapMerge(users) FROM maxy_device_access_bitmap").result_rows == [
        (len({row["device_id"] for row in visits}),)
    ]


class KilledAmidInserts:
    """A store whose server is killed at given inserts, and runs again when it is next asked.

    :param directory: the server's.
    :param plan: by number of the insert: killed "before" it is sent, or "after" it was stored and before its sender
        knows, or after a "part" of it was stored.
    """

    def __init__(self, directory: Path, servers: ExitStack, plan: dict[int, str]) -> None:
        self._directory = directory
        self._servers = servers
        self._plan = plan
        self._inserts = 0
        self._start()

    def insert(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None, insert_id: str) -> None:
        self._inserts += 1
        match self._plan.get(self._inserts):
            case None:
                self._store.insert(delivery, reg_dt_ms, insert_id)
            case "before":
                self._kill()
                self._store.insert(delivery, reg_dt_ms, insert_id)
            case "after":
                self._store.insert(delivery, reg_dt_ms, insert_id)
                self._kill()
                raise StoreError("the reply was lost")
            case "part":
                # As when it spans two days, whose parts are stored one after the other.
                places = range(0, len(delivery), 2)
                own = None if reg_dt_ms is None else [reg_dt_ms[place] for place in places]
                self._store.insert(delivery.take(places), own, insert_id)
                self._kill()
                raise StoreError("the reply was lost")

    def runs(self, insert_id: str) -> bool:
        self._start_again()
        return self._store.runs(insert_id)

    def stored(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None) -> set[int]:
        return self._store.stored(delivery, reg_dt_ms)

    def _kill(self) -> None:
        self.server.process.kill()
        self.server.process.wait()

    def _start_again(self) -> None:
        if self.server.process.poll() is not None:
            self._start()

    def _start(self) -> None:
        self.server = self._servers.enter_context(serve(self._directory))
        self._store = ClickHouseStore(self.server.http_arguments())


def test_inserts_amid_which_the_server_is_killed_are_neither_lost_nor_doubled(directory: Path, tmp_path: Path) -> None:
    with serve(directory) as server:
        make_tables(server, database="maxy", timezone=TIMEZONE)
        with clickhouse_connect.get_client(**server.http_arguments()) as client:
            prevent_merges(client)
    with ExitStack() as servers:
        # Of the first second's inserts and others', with and without a reg_dt of their own.
        store = KilledAmidInserts(directory, servers, {1: "part", 2: "after", 5: "after", 8: "part", 13: "part"})
        _, sender = run_feed(store, tmp_path / "ledger", seconds=10, rate=200)

        with clickhouse_connect.get_client(**store.server.http_arguments()) as client:
            assert keys_of_tables(client) == keys_of(sent(10, 200))
            assert counts_in(tmp_path / "ledger") == counts_of_tables(client)
    assert sender.totals.repeated == 3


def test_a_connection_that_breaks_after_the_commit_does_not_double_the_rows(
    server: Server, client: Client, tmp_path: Path
) -> None:
    """The client library must not send an insert again by itself: what stands between loses the first reply."""
    with ReplyLoser(server.http_port) as way:
        store = ClickHouseStore({**server.http_arguments(), "port": way.port})
        _, sender = run_feed(store, tmp_path / "ledger", seconds=3, rate=100)

    assert way.lost
    assert keys_of_tables(client) == keys_of(sent(3, 100))
    assert counts_in(tmp_path / "ledger") == counts_of_tables(client)
    assert sender.totals.repeated == 0, "the rows were found"


class ReplyLoser:
    """A way to the server on which the reply to the first insert is lost and its connection reset.

    :param port: the server's.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.lost = False
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        # A thread in accept() is woken by this, and not by close() alone.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        inserting = False
        with near, socket.create_connection(("127.0.0.1", self._server_port)) as far:
            while True:
                for source in select.select([near, far], [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    inserting = inserting or b"INSERT+INTO" in data
                    if source is far and inserting and not self.lost:
                        self.lost = True
                        # Reset rather than closed.
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    (far if source is near else near).sendall(data)


def test_a_server_that_is_not_there_was_sent_nothing(server: Server) -> None:
    store = ClickHouseStore(server.http_arguments())
    delivery = sent(1, 20)[0]
    assert store.stored(delivery, None) == set()
    server.process.kill()
    server.process.wait()

    # With a client that was connected, whose connection is found closed, and with a new one.
    with pytest.raises(StoreError):
        store.runs("any")
    with pytest.raises(NotSent):
        store.insert(delivery, None, "first")
    with pytest.raises(NotSent):
        ClickHouseStore(server.http_arguments()).insert(delivery, None, "second")


def test_a_refused_insert_is_an_error_that_names_the_reason(server: Server, client: Client) -> None:
    client.command("DROP TABLE maxy_app_total_log")
    delivery = next(one for one in sent(1, 20) if one.table == TOTAL_LOG)
    with pytest.raises(StoreError, match="maxy_app_total_log does not exist") as raised:
        ClickHouseStore(server.http_arguments()).insert(delivery, None, "id")
    assert not isinstance(raised.value, NotSent)


def test_the_process_ends_well_when_it_is_told_to(server: Server, client: Client, tmp_path: Path) -> None:
    ledger, heartbeat = tmp_path / "ledger", tmp_path / "heartbeat"
    environment = {
        **os.environ,
        "CLICKHOUSE_HOST": server.host,
        "CLICKHOUSE_PORT": str(server.http_port),
        "CLICKHOUSE_USER": server.user,
        "CLICKHOUSE_PASSWORD": server.password,
        "CLICKHOUSE_DB": server.database,
        "MAXY_TIMEZONE": TIMEZONE,
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        sys.executable,
        "-m",
        "local.statistics.feed",
        "--rate",
        "50",
        "--ledger",
        str(ledger),
        "--heartbeat",
        str(heartbeat),
    ]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "feeding 50 rows/s into each of" in process.stdout.readline()
            # Any reading of the ledger, however far it is, must agree with the tables at the end.
            wait_for_lines(process, ledger)
            process.send_signal(signal.SIGTERM)
            said = process.stdout.read()
            assert process.wait(30) == 0, said
        finally:
            process.kill()
    assert "ended after " in said
    assert heartbeat.exists()
    assert counts_in(ledger) == counts_of_tables(client)


def test_the_stack_starts_its_feed_shows_it_and_ends_it(tmp_path: Path) -> None:
    with ExitStack() as sockets:
        listeners = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [str(listener.getsockname()[1]) for listener in listeners]
    settings = read_settings(
        ROOT,
        {
            "MAXY_LOCAL_DIR": str(tmp_path / "local"),
            "MAXY_ENV_FILE": os.devnull,
            "MAXY_TIMEZONE": TIMEZONE,
            "CLICKHOUSE_PORT": ports[0],
            "CLICKHOUSE_NATIVE_PORT": ports[1],
        },
    )
    stack = Stack(settings, Progress(lambda line: None))
    (feed,) = stack.feeds
    try:
        # Of the other parts, the feed needs none.
        stack.clickhouse.start(threading.Event())
        Migrations(settings.migration_environment()).apply_clickhouse()
        stack.start_feeds()
        pid = feed.process.running_pid()
        stack.start_feeds()
        assert feed.process.running_pid() == pid is not None, "starting it twice is harmless"

        status = next(part for part in stack.status() if part.name == "feed")
        assert (status.pid, status.answers, status.in_order) == (pid, True, True)
        assert int(stack.clickhouse.query("SELECT count() FROM maxy_device_page_flow")) >= 19
    finally:
        stack.down()
    assert [part.name for part in stack.all_parts if part.process.running()] == []
    assert "ended after " in feed.process.log.read_text(), "it was given the time to end by itself"


def wait_for_lines(process: subprocess.Popen[str], ledger: Path) -> None:
    """Until both tables were fed; bounded by the process's life and the runner's patience."""
    stop = threading.Event()
    for _ in range(600):
        if ledger.exists() and len(ledger.read_text(encoding="utf-8").splitlines()) >= 4:
            return
        assert process.poll() is None
        stop.wait(0.05)
    raise AssertionError("nothing was acknowledged within 30 s")
