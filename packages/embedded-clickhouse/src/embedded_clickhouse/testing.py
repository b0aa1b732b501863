"""A server of one's own for tests: a real process on free ports that ends with the test::

    with running_server(tmp_path) as server:
        server.query("SELECT 1")

Run as a module, it is that process: the command line of this package, ended when its standard input is closed. So
even a test process that is killed leaves no server behind.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.005
_LOG_CHARACTERS = 4000
_STATEMENT_SECONDS = 30.0


class QueryError(RuntimeError):
    """A server refused a statement; the text is its own."""


class ServerArguments(TypedDict, total=False):
    """What a server of :func:`running_server` may be told besides its folder.

    :param timezone: the zone of dates without one, an IANA name.
    :param user: the name of its account.
    :param password: that account's password.
    :param database: made when it is missing; clients are led to it.
    :param config: what the configuration file says (``serve --config``), as TOML.
    """

    timezone: str
    user: str
    password: str
    database: str
    config: str


@dataclass(frozen=True)
class Server:
    """A running server and how to reach it.

    :param database: the one that clients are led to.
    :param pid: of the server's process.
    :param process: the same, to signal it and to wait for its end.
    :param log_path: what it has written so far.
    """

    host: str
    http_port: int
    tcp_port: int
    user: str
    password: str = field(repr=False)
    database: str
    pid: int
    process: subprocess.Popen[bytes] = field(repr=False)
    log_path: Path

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

    def query(self, sql: str) -> str:
        """Run one statement over HTTP and return its result as text, tab-separated unless it has a FORMAT.

        :raises QueryError: the server refused it.
        :raises OSError: the server does not answer.
        :raises http.client.HTTPException: it answered with something else than HTTP.
        """
        # Straight to this machine, whatever proxies the environment names.
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=_STATEMENT_SECONDS)
        # Not in headers, which take no names beyond Latin-1.
        who = urlencode({"user": self.user, "password": self.password, "database": self.database})
        try:
            connection.request("POST", f"/?{who}", sql.encode())
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace").removesuffix("\n")
        finally:
            connection.close()
        if reply.status != http.HTTPStatus.OK:
            raise QueryError(text)
        return text

    def end_of_log(self) -> str:
        """Return the last few thousand characters of what the server has written."""
        return _end_of(self.log_path)


@contextlib.contextmanager
def running_server(
    directory: Path,
    *,
    timezone: str = "UTC",
    user: str = "tester",
    password: str = "local-test",
    database: str = "test",
    config: str = "",
) -> Iterator[Server]:
    """Serve ``directory`` on free ports of the loopback address until the end of the block.

    The same directory can be served again later, with its data. The other parameters are those of
    :class:`ServerArguments`.

    :raises RuntimeError: the server did not start; the end of its log is in the message.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    ready_file = directory / "ready.json"
    ready_file.unlink(missing_ok=True)
    log_path = directory / "server.log"
    command = [sys.executable, "-m", __name__, "serve", str(directory), "--http-port", "0", "--tcp-port", "0"]
    command += ["--user", user, "--database", database, "--timezone", timezone, "--ready-file", str(ready_file)]
    if config:
        config_path = directory / "server.toml"
        config_path.write_text(config, encoding="utf-8")
        command += ["--config", str(config_path)]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            # Nothing here has the name of a module.
            cwd=directory,
            env={**os.environ, **_python_path(), "CLICKHOUSE_PASSWORD": password},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Ctrl-C is for the tests: they still need the server to clean up.
            start_new_session=True,
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
            log_path=log_path,
        )
    finally:
        _stop(process)


def _python_path() -> dict[str, str]:
    """Have the server find the modules that this process finds, be they installed or not."""
    return {"PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in sys.path)}


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log_path: Path) -> dict[str, int]:
    deadline = time.monotonic() + _START_SECONDS
    while not ready_file.exists():
        if process.poll() is not None:
            raise RuntimeError(f"The ClickHouse server did not start (exit {process.returncode}): {_end_of(log_path)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"The ClickHouse server was not ready in {_START_SECONDS:.0f} s: {_end_of(log_path)}")
        time.sleep(_POLL_SECONDS)
    ready: dict[str, int] = json.loads(ready_file.read_text(encoding="ascii"))
    return ready


def _end_of(log_path: Path) -> str:
    return log_path.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARACTERS:].strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()


def _end_with_the_parent() -> None:
    """Ask this process to stop once nobody holds the other end of its standard input."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _main() -> int:
    # Here only: tests that import this module need nothing of the server.
    from embedded_clickhouse.__main__ import main

    threading.Thread(target=_end_with_the_parent, name="parent", daemon=True).start()
    return main()


if __name__ == "__main__":
    raise SystemExit(_main())
