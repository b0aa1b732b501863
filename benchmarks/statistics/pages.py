"""What open live pages cost: CPU time of Airflow's API server, and reads from Valkey, for none, one and fifty of them.

Starts a stack of its own on free ports, with live traffic and ticking loops, and opens the pages' streams as browsers
do. It is removed afterwards. Before that, what the charts cost a browser (benchmarks.statistics.charts).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import redis

from benchmarks.statistics import charts
from local.settings import VIEWER_USER
from tests.e2e.conftest import RunningStack, own_environment
from tests.e2e.live import Feed, Live

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGES = 50
AIM_CORES = 0.5
# What a page's reader sends; the loops themselves read with it too, which the phase without pages tells.
_READS = ("hgetall", "zrange")
_SETTLING_SECONDS = 8.0


@dataclass
class Phase:
    """What was measured while some pages were open.

    :param pages: how many.
    :param what: of which keys.
    :param server: cores that the API server used.
    :param valkey: cores that Valkey used.
    :param reads: commands per second that read from Valkey, everybody's.
    :param events: events per page and second.
    :param kilobytes: per page and second.
    """

    pages: int
    what: str
    server: float
    valkey: float
    reads: float
    events: float
    kilobytes: float

    def __str__(self) -> str:
        return (
            f"{self.pages:>3} pages {self.what:<16} API server {self.server:6.3f} cores   "
            f"Valkey {self.valkey:6.3f} cores   {self.reads:6.1f} reads/s   "
            f"{self.events:5.2f} events/s and {self.kilobytes:6.1f} kB/s a page"
        )


class Meter:
    """Reads counters of the stack's processes.

    :param stack: the stack.
    """

    def __init__(self, stack: RunningStack) -> None:
        pids = stack.pids()
        self._server = _family(pids["airflow-api-server"])
        self._valkey = _family(pids["valkey"])
        settings = stack.settings
        self._client = redis.Redis(port=settings.valkey_port, password=settings.valkey_password, decode_responses=True)

    def read(self) -> tuple[float, float, float, int]:
        """Return the time, CPU seconds of the API server and of Valkey, and reads from Valkey so far."""
        stats: Any = self._client.info("commandstats")
        reads = sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in _READS)
        return time.monotonic(), _cpu(self._server), _cpu(self._valkey), reads


class Viewers:
    """Open streams.

    :param url: of Airflow.
    :param token: of a user.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self.events = 0
        self.received = 0

    async def watch(self, keys: Sequence[Mapping[str, Any]], meter: Meter, seconds: float, what: str) -> Phase:
        """Open a stream for each key, and measure once they have settled."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            tasks = [asyncio.create_task(self._one(session, key)) for key in keys]
            await asyncio.sleep(_SETTLING_SECONDS)
            began, events, received = meter.read(), self.events, self.received
            await asyncio.sleep(seconds)
            ended = meter.read()
            events, received = self.events - events, self.received - received
            for task in tasks:
                if task.done():
                    task.result()
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        lasted, server, valkey, reads = (after - before for after, before in zip(ended, began, strict=True))
        pages = max(1, len(keys))
        return Phase(
            len(keys),
            what,
            server / lasted,
            valkey / lasted,
            reads / lasted,
            events / lasted / pages,
            received / 1024 / lasted / pages,
        )

    async def _one(self, session: aiohttp.ClientSession, key: Mapping[str, Any]) -> None:
        async with session.get(f"{self._url}/maxy/api/stream", params=dict(key), headers=self._headers) as answer:
            answer.raise_for_status()
            async for piece in answer.content.iter_any():
                self.received += len(piece)
                self.events += piece.count(b"event: ")
        raise ConnectionError("a stream has ended")


async def measure(stack: RunningStack, token: str, seconds: float) -> list[Phase]:
    """Measure all phases."""
    url = stack.settings.airflow_url
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/maxy/api/keys", headers={"Authorization": f"Bearer {token}"}) as answer,
    ):
        answer.raise_for_status()
        keys = (await answer.json())["keys"]
    busiest = [key for key in keys if key["package_nm"] == "com.maxy.shop"] or keys
    meter = Meter(stack)
    plans = [
        ("", []),
        ("of one key", busiest[:1]),
        ("of one key", busiest[:1] * PAGES),
        (f"of {min(PAGES, len(keys))} keys", list(islice(cycle(keys), PAGES))),
        ("", []),
    ]
    phases = []
    for what, watched in plans:
        phases.append(await Viewers(url, token).watch(watched, meter, seconds, what))
        print(phases[-1], flush=True)
    return phases


def run(*, seconds: float, rate: int) -> None:
    """Start a stack, let it live, measure and judge."""
    folder = Path(tempfile.mkdtemp(prefix="maxy-bench-"))
    stack = RunningStack.of(own_environment(folder / "local", MAXY_REALTIME=json.dumps({})))
    try:
        for command in (("up",), ("seed", "--days", "2")):
            done = stack.run_command(*command, timeout=600)
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
        live = Live(stack)
        live.unpause()
        feed = Feed(dict(stack.environment), folder / "ledger.jsonl", rate=rate)
        live.wait_for_ticks(ticks=2)
        print(f"{rate} rows/s into each source table; filling the windows of the scatters")
        time.sleep(60)
        token = stack.token(VIEWER_USER)
        phases = asyncio.run(measure(stack, token, seconds))
        feed.stop()
    finally:
        stack.run_command("clean")
        shutil.rmtree(folder, ignore_errors=True)
    _judge(phases)


def _judge(phases: Sequence[Phase]) -> None:
    none, one, many = phases[0], phases[1], phases[2]
    print(f"aim: {PAGES} pages under {AIM_CORES} of a core: {'met' if many.server < AIM_CORES else 'MISSED'}")
    more = (many.reads - none.reads) / max(0.1, one.reads - none.reads)
    print(
        f"aim: reads do not grow with the pages: {PAGES} pages read {more:.2f} times as much as one: "
        f"{'met' if more < 1.2 else 'MISSED'}"
    )


def _family(pid: int | None) -> list[psutil.Process]:
    assert pid is not None, "the part runs"
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=40.0, help="that each phase is measured (default 40)")
    parser.add_argument("--rate", type=int, default=200, help="rows per second into each table (default 200)")
    parser.add_argument("--charts", action="store_true", help="only the charts in a browser, without a stack")
    arguments = parser.parse_args()
    charts.run()
    if arguments.charts:
        return
    run(seconds=arguments.seconds, rate=arguments.rate)


if __name__ == "__main__":
    main()
