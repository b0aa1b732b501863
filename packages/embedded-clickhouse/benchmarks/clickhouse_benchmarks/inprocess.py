"""The engine called in-process, in a process of its own: what a server in front of it is compared with.

Run as a module, it opens a folder and does what it is told, one line of JSON after the other on its standard input.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickhouse_benchmarks.data import COUNT, DATABASE, EMPTY, INSERT, PREPARE, SELECT
from clickhouse_benchmarks.latency import small_query
from clickhouse_benchmarks.measure import Sample
from embedded_clickhouse.engine import Engine
from embedded_clickhouse.statements import open_insert, open_result

if TYPE_CHECKING:
    from collections.abc import Iterator

_STOP_SECONDS = 30.0


class InProcess:
    """The other end of that process.

    :param process: started by `inprocess`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Let it do something: a method of `_Worker`.

        :raises RuntimeError: it ended, with its reason on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process of the engine ended at {verb}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def sample(self, verb: str, **arguments: Any) -> Sample:
        """Let it do something that takes time, and return what it took."""
        answer = self.call(verb, **arguments)
        return Sample(answer["wall"], 0.0, answer["cpu"])


@contextlib.contextmanager
def inprocess(directory: Path) -> Iterator[InProcess]:
    """Start it on a folder of its own."""
    command = [sys.executable, "-m", __name__, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield InProcess(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Worker:
    """Each public method is a verb; it returns what becomes JSON.

    :param engine: open.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bodies: dict[str, bytes] = {}

    def prepare(self, fill: str) -> dict[str, Any]:
        """Make the tables, and fill what is selected."""
        self._engine.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        for sql in (*PREPARE, fill, "OPTIMIZE TABLE source FINAL"):
            self._run(sql)
        return {}

    def write(self, path: str, fmt: str) -> dict[str, Any]:
        """Write what is selected to a file."""
        Path(path).write_bytes(self._run(SELECT, fmt))
        return {}

    def insert(self, path: str, fmt: str, *, bare: bool) -> dict[str, Any]:
        """Insert a file's bytes, and empty the table again.

        :param bare: by the engine's own streaming insert, without the layer that keeps what is not complete out.
        """
        if path not in self._bodies:
            self._bodies[path] = Path(path).read_bytes()
        body = self._bodies[path]
        began, cpu = time.perf_counter(), time.process_time()
        with self._engine.session(database=DATABASE) as session:
            if bare:
                handle = session.connection.send_insert(INSERT, fmt)
                session.connection.insert_append(handle, body)
                session.connection.insert_done(handle)
            else:
                with open_insert(session, INSERT, fmt, query_id=str(uuid.uuid4())) as stream:
                    stream.append(body)
                    stream.commit()
        taken = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        rows = int(self._run(COUNT))
        self._run(EMPTY)
        return {**taken, "rows": rows}

    def select(self, fmt: str) -> dict[str, Any]:
        """Select everything, chunk by chunk."""
        began, cpu = time.perf_counter(), time.process_time()
        size = 0
        with (
            self._engine.session(database=DATABASE) as session,
            open_result(session, SELECT, fmt, query_id=str(uuid.uuid4())) as stream,
        ):
            for chunk in stream:
                size += len(chunk)
        return {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu, "size": size}

    def ones(self, count: int) -> dict[str, Any]:
        """Run `SELECT 1` on one connection, so many times."""
        walls = []
        cpu = time.process_time()
        with self._engine.session(database=DATABASE, keep=True) as session:
            for _ in range(count):
                began = time.perf_counter()
                with open_result(session, "SELECT 1", "Native", query_id=str(uuid.uuid4())) as stream:
                    b"".join(stream)
                walls.append(time.perf_counter() - began)
        return {"walls": walls, "cpu": (time.process_time() - cpu) / count}

    def clients(self, count: int, seconds: float, rows: int) -> dict[str, Any]:
        """Run small queries in so many threads."""
        done = [0] * count
        ends = time.perf_counter() + seconds

        def work(number: int) -> None:
            chance = random.Random(number)
            with self._engine.session(database=DATABASE, keep=True) as session:
                while time.perf_counter() < ends:
                    with open_result(
                        session, small_query(chance, rows), "Native", query_id=str(uuid.uuid4())
                    ) as stream:
                        b"".join(stream)
                    done[number] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        cpu = time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"queries": sum(done), "cpu": (time.process_time() - cpu) / sum(done)}

    def _run(self, sql: str, fmt: str = "TSVRaw") -> bytes:
        with (
            self._engine.session(database=DATABASE) as session,
            open_result(session, sql, fmt, query_id=str(uuid.uuid4())) as stream,
        ):
            return b"".join(stream)


def _main() -> None:
    with Engine.open(Path(sys.argv[1])) as engine:
        worker = _Worker(engine)
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(getattr(worker, order.pop("verb"))(**order)), flush=True)


if __name__ == "__main__":
    _main()
