"""A server of one's own for tests: a real process on free ports that ends with the test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.02
_LOG_CHARACTERS = 4000


@dataclass(frozen=True)
class Server:
    """A running server and how to reach it."""

    host: str
    http_port: int
    tcp_port: int
    user: str
    password: str = field(repr=False)
    database: str
    pid: int
    process: subprocess.Popen[bytes]

    def http_arguments(self, database: str | None = None) -> dict[str, Any]:
        """Return what ``clickhouse_connect.get_client`` needs."""
        return {
            "host": self.host,
            "port": self.http_port,
            "username": self.user,
            "password": self.password,
            "database": database or self.database,
        }

    def native_arguments(self, database: str | None = None) -> dict[str, Any]:
        """Return what ``clickhouse_driver.Client`` needs."""
        return {
            "host": self.host,
            "port": self.tcp_port,
            "user": self.user,
            "password": self.password,
            "database": database or self.database,
        }


@contextlib.contextmanager
def running_server(
    directory: Path,
    *,
    timezone: str = "UTC",
    user: str = "tester",
    password: str = "local-test",
    database: str = "test",
) -> Iterator[Server]:
    """Serve ``directory`` on free ports of the loopback address until the end of the block.

    The same directory can be served again later, with its data.

    :raises RuntimeError: the server did not start; the end of its log is in the message.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ready_file = directory / "ready.json"
    ready_file.unlink(missing_ok=True)
    log_path = directory / "server.log"
    command = [sys.executable, "-m", "local.clickhouse", "serve", str(directory), "--http-port", "0", "--tcp-port", "0"]
    command += ["--user", user, "--database", database, "--timezone", timezone, "--ready-file", str(ready_file)]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "CLICKHOUSE_PASSWORD": password},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        ready = _wait_until_ready(process, ready_file, log_path)
        yield Server(
            host="127.0.0.1",
            http_port=ready["http_port"],
            tcp_port=ready["tcp_port"],
            user=user,
            password=password,
            database=database,
            pid=process.pid,
            process=process,
        )
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log_path: Path) -> dict[str, int]:
    deadline = time.monotonic() + _START_SECONDS
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            end_of_log = log_path.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARACTERS:]
            raise RuntimeError(f"The ClickHouse gateway did not start (exit {process.poll()}): {end_of_log}")
        time.sleep(_POLL_SECONDS)
    ready: dict[str, int] = json.loads(ready_file.read_text(encoding="ascii"))
    return ready


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
