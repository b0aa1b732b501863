"""The live loops on a whole stack, disturbed in every way, and what must hold of them whatever was done.

Used by the end-to-end tests and by the soak (`make soak`), which is the same for longer.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psutil
import pytest
import redis

from local.airflow_tasks import wait_for_dag
from maxy.valkey.keys import KeyTemplate
from scripts.backfill import ApiError
from tests.oracle import expected_statistics
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

    from tests.e2e.conftest import RunningStack

ROOT = Path(__file__).resolve().parents[2]
LOOPS = ("log_meter", "loading_time", "response_time", "device", "page")
DAG_IDS = {name: f"realtime_{name}" for name in (*LOOPS, "watch")}
DEVICE_METRICS = ("visit", "install", "login", "dau", "revisit_7d", "mau")
PAGE_METRICS = (
    "crash_count",
    "error_count",
    "js_error_count",
    "log_count",
    "intervaltime_avg",
    "lcp_avg",
    "ttfb_avg",
    "fcp_avg",
    "inp_avg",
    "pv",
)
# A loop on a busy machine, after whatever was done to it: the next run starts, a copy takes over, a back-off ends.
RECOVERY_SECONDS = 150.0
_WINDOW_MS = 300_000


@dataclass
class Windows:
    """The log meter's windows as a reader of its hashes sees them.

    :param counts: rows by (package, server type, end of the window).
    :param spans: end of each window, and its start.
    """

    counts: dict[tuple[str, int, str], int] = field(default_factory=dict)
    spans: dict[str, str] = field(default_factory=dict)

    def totals(self) -> Counter[tuple[str, int]]:
        totals: Counter[tuple[str, int]] = Counter()
        for (package, server_type, _), count in self.counts.items():
            totals[package, server_type] += count
        return totals


class WindowReader:
    """Reads the log meter's hashes again and again, as a dashboard would, while the block runs.

    :param connect: makes a client for Valkey.
    :param prefix: of the keys.
    """

    def __init__(self, connect: Callable[[], redis.Redis], prefix: str) -> None:
        self._connect = connect
        self._pattern = f"{prefix}:totallog:*:*"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.windows = Windows()

    def __enter__(self) -> WindowReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _read(self) -> None:
        client = self._connect()
        while not self._ended.wait(0.2):
            # An outage is what the loops are put through; the reader just goes on.
            with contextlib.suppress(redis.RedisError):
                pipeline = client.pipeline(transaction=False)
                for key in client.scan_iter(match=self._pattern, count=10_000):
                    pipeline.hgetall(key)
                for hash_ in pipeline.execute():
                    if hash_:
                        self._note(hash_)

    def _note(self, hash_: dict[str, str]) -> None:
        key = (hash_["package_nm"], int(hash_["server_type"]), hash_["window_end"])
        self.windows.counts[key] = int(hash_["log_count"])
        self.windows.spans[hash_["window_end"]] = hash_["window_start"]


class Feed:
    """`python -m local feed` in a process of its own, with a ledger of what was stored.

    Without repeats in the log: one that is merged away while no tick looks cannot be counted by anybody.
    """

    def __init__(self, environment: dict[str, str], ledger: Path, *, rate: int) -> None:
        self.ledger = ledger
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local", "feed", "--rate", str(rate), "--ledger", str(ledger), "--no-log-repeats"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(90) == 0

    def stored(self, table: str) -> Counter[tuple[str, int]]:
        """Return the rows that were stored, by package and server type, without those that lack one of them."""
        counts: Counter[tuple[str, int]] = Counter()
        for line in self.ledger.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["table"] == table:
                for package, server_type, rows in entry["counts"]:
                    if package is not None and package.strip() and server_type is not None:
                        counts[package, server_type] += rows
        return counts


class Live:
    """The live loops of a stack.

    :param stack: the stack.
    """

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.prefix = stack.settings.valkey_prefix
        self.zone = ZoneInfo(stack.settings.timezone)
        self._triggerers: list[subprocess.Popen[bytes]] = []

    def valkey(self) -> redis.Redis:
        return self.stack.stack.valkey.client()

    def clickhouse(self) -> Client:
        return self.stack.clickhouse()

    # What people do.

    def unpause(self, *names: str) -> None:
        for name in names or DAG_IDS:
            wait_for_dag(self.stack.api, DAG_IDS[name])
            self.stack.api.request("PATCH", f"/dags/{DAG_IDS[name]}", body={"is_paused": False})

    def pause(self, *names: str) -> None:
        for name in names or DAG_IDS:
            self.stack.api.request("PATCH", f"/dags/{DAG_IDS[name]}", body={"is_paused": True})

    def running(self, name: str) -> str | None:
        """Return the id of the loop's running DAG run."""
        answer = self.stack.api.request("GET", f"/dags/{DAG_IDS[name]}/dagRuns", query={"state": "running"})
        return next((str(run["dag_run_id"]) for run in answer["dag_runs"]), None)

    def runs(self, name: str, state: str) -> int:
        """Return how many of the loop's DAG runs are in a state."""
        answer = self.stack.api.request("GET", f"/dags/{DAG_IDS[name]}/dagRuns", query={"state": state})
        return int(answer["total_entries"])

    def clear(self, name: str) -> None:
        run_id = self.running(name)
        if run_id is not None:
            body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "only_running": False}
            self.stack.api.request("POST", f"/dags/{DAG_IDS[name]}/clearTaskInstances", body=body)

    def mark(self, name: str, state: str) -> None:
        run_id = self.running(name)
        if run_id is not None:
            self.stack.api.request("PATCH", f"/dags/{DAG_IDS[name]}/dagRuns/{run_id}", body={"state": state})

    def delete(self, name: str) -> None:
        """Delete the DAG; it comes back paused when its file is parsed again."""
        with contextlib.suppress(ApiError):
            self.stack.api.request("DELETE", f"/dags/{DAG_IDS[name]}")

    def end(self) -> None:
        """Have no loop running any more."""
        self.pause()
        for name in DAG_IDS:
            self.mark(name, "failed")

    # What happens to processes.

    def triggerer(self) -> psutil.Process:
        return self.part("airflow-triggerer")

    def signal(self, process: psutil.Process, number: signal.Signals) -> None:
        """Send a signal to a process and all it has started."""
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    @contextlib.contextmanager
    def stopped(self, *processes: psutil.Process) -> Iterator[None]:
        for process in processes:
            self.signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                self.signal(process, signal.SIGCONT)

    def part(self, name: str) -> psutil.Process:
        pid = next(part for part in self.stack.stack.parts if part.name == name).process.running_pid()
        return psutil.Process(pid)

    def start_triggerer(self) -> psutil.Process:
        """Start one more triggerer, as somebody who adds a machine."""
        log = self.stack.settings.local_dir / "logs" / f"second-triggerer-{len(self._triggerers)}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
                env=self.stack.stack.airflow.environment(),
                cwd=self.stack.settings.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._triggerers.append(process)
        return psutil.Process(process.pid)

    def stop_triggerers(self) -> None:
        """End the triggerers that were started here, with all that belongs to them."""
        for process in self._triggerers:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(15)
                for each in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
            if process.poll() is None:
                process.kill()
            process.wait(10)
        self._triggerers.clear()

    def restart_killed(self) -> None:
        """Bring back what was killed."""
        up = self.stack.run_command("up", timeout=240)
        assert up.returncode == 0, up.stdout + up.stderr

    # What must hold.

    def status(self, name: str) -> dict[str, str]:
        with self.valkey() as client:
            return client.hgetall(f"{self.prefix}:loop:{name}")

    def wait_for_ticks(self, *names: str, seconds: float = RECOVERY_SECONDS, ticks: int = 1) -> None:
        """Wait until each loop has had good ticks that began after this call."""
        for _ in range(ticks):
            begun = datetime.now(self.zone)

            def ticked(name: str, begun: datetime = begun) -> bool:
                with contextlib.suppress(redis.RedisError):
                    last = self.status(name).get("last_success_at")
                    return last is not None and datetime.fromisoformat(last) > begun
                return False

            for name in names or LOOPS:
                wait_until(lambda name=name: ticked(name), seconds, f"{name} ticks")

    def check_pages_and_devices(self) -> int:
        """Compare with an independent computation from the rows that are there, and return the number of keys.

        To be called when nothing arrives any more and the loops have ticked since.
        """
        today = datetime.now(self.zone).date()
        with self.clickhouse() as client:
            pages, history = _rows(client, _PAGE_QUERY), _rows(client, _HISTORY_QUERY)
        expected = expected_statistics(pages, history, stat_date=today, timezone=self.zone.key).by_key
        for template, metrics in (
            ("{package_nm}:{server_type}:{os_type}", DEVICE_METRICS),
            ("page:{package_nm}:{server_type}:{os_type}", PAGE_METRICS),
        ):
            self._check_hashes(template, metrics, expected)
        return len(expected)

    def _check_hashes(self, template: str, metrics: tuple[str, ...], expected: dict[Any, dict[str, float]]) -> None:
        keys = KeyTemplate(template, prefix=f"{self.prefix}:")
        with self.valkey() as client:
            for dimensions, figures in expected.items():
                columns = [[str(value)] for value in dimensions]
                (key,) = keys.keys(columns)
                hash_ = client.hgetall(key)
                wanted = {name: float(figures[name]) for name in metrics}
                if not hash_:
                    # A key of one of the two sources only has no hash of the other.
                    assert not any(wanted.values()), (key, wanted)
                    continue
                found = {name: float(hash_[name]) for name in metrics}
                assert found == pytest.approx(wanted, rel=1e-9), key

    def check_points(self, loop: str) -> int:
        """Compare a scatter with the rows of its window, and return the number of points.

        To be called when nothing arrives any more and the loop has ticked since; holds as long as no cap is reached.
        """
        scatter = _SCATTERS[loop]
        with self.valkey() as client:
            now_ms = int(datetime.fromisoformat(self.status(loop)["last_success_at"]).timestamp() * 1000)
            # Points at the edge may have been taken away between the tick and this look.
            edge_ms = now_ms - _WINDOW_MS + 20_000
            found: Counter[tuple[Any, ...]] = Counter()
            recent: set[tuple[Any, ...]] = set()
            for key in client.scan_iter(match=f"{self.prefix}:{scatter.kind}:*", count=10_000):
                if client.type(key) != "zset":
                    continue
                for member, score in client.zrange(key, 0, -1, withscores=True):
                    assert score > now_ms - _WINDOW_MS, f"{key}: too old a point {member}"
                    point = json.loads(member, parse_constant=_refuse)
                    identity = tuple(point[name] for name in scatter.identity)
                    found[identity] += 1
                    if score > edge_ms:
                        recent.add(identity)
        with self.clickhouse() as client:
            rows = client.query(scatter.query, parameters={"from_ms": edge_ms}).result_rows
        there = {tuple(row[:-1]) for row in rows}
        # A repeat may have come long after its point, which has aged since.
        fresh = {tuple(row[:-1]) for row in rows if row[-1]}
        assert max(found.values(), default=1) == 1, f"{loop}: a point is there twice"
        assert fresh <= set(found), f"{loop}: {len(fresh - set(found))} of {len(fresh)} points are lost"
        assert recent <= there, f"{loop}: {len(recent - there)} points are of no row"
        return len(found)


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


@dataclass(frozen=True)
class _Scatter:
    """:param kind: the word in its keys.

    :param identity: documented fields that tell two points apart.
    :param query: these of the rows since {from_ms}, and whether the row has come soon after its event.
    """

    kind: str
    identity: tuple[str, ...]
    query: str


_SCATTERS = {
    "loading_time": _Scatter(
        "loadingtime",
        ("package_nm", "server_type", "device_id", "page_start_tm", "page_end_tm", "page_id", "loading_time"),
        r"""
        SELECT package_nm, server_type, device_id, page_start_tm, page_end_tm, page_id, loading_time,
            toUnixTimestamp64Milli(reg_dt) < ifNull(page_end_tm, page_start_tm) + 20000
        FROM maxy_device_page_flow FINAL
        WHERE reg_dt > fromUnixTimestamp64Milli({from_ms:Int64}) AND loading_time >= 10
          AND server_type IS NOT NULL AND NOT match(ifNull(package_nm, ''), '^\\s*$')
        """,
    ),
    "response_time": _Scatter(
        "responsetime",
        ("package_nm", "server_type", "device_id", "log_tm", "log_type", "req_url", "intervaltime"),
        r"""
        SELECT package_nm, server_type, device_id, log_tm, log_type, req_url, intervaltime,
            toUnixTimestamp64Milli(reg_dt) < log_tm + 20000
        FROM maxy_app_total_log FINAL
        WHERE reg_dt > fromUnixTimestamp64Milli({from_ms:Int64}) AND intervaltime > 0 AND log_type IN (524291, 8388612)
          AND server_type IS NOT NULL AND NOT match(ifNull(package_nm, ''), '^\\s*$')
        """,
    ),
}
_PAGE_QUERY = """
SELECT device_id, page_start_tm, page_start_tm_dt, sum_mem_usage, package_nm, server_type, os_type, intervaltime,
    error_count, js_error_count, crash_count, log_count, lcp, fcp, ttfb, inp, log_type
FROM maxy_device_page_flow
WHERE page_start_tm_dt >= now() - INTERVAL 2 DAY
   OR page_start_tm_dt >= now() - INTERVAL 32 DAY AND log_type IN (1048597, 1048580)
ORDER BY reg_dt
"""
_HISTORY_QUERY = """
SELECT log_date, package_nm, server_type, os_type, device_id, visit_cnt, install_cnt, login_cnt
FROM maxy_device_access_history
WHERE log_date >= today() - 32
"""


def _rows(client: Client, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in client.query(query, tz_mode="aware").named_results()]
