"""A real server under attack, and what must hold after each one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import clickhouse_driver

from clickhouse_testkit.fuzzing import fuzz_settings
from clickhouse_testkit.plain_http import Http

if TYPE_CHECKING:
    from pathlib import Path

    from embedded_clickhouse.testing import Server

# Each case ends within it; one that waits for more is told that no more comes.
END_SECONDS = 15.0

fuzzed = fuzz_settings(60)


class Target:
    """A server with an empty table ``t (a UInt32, b String)``, and what must hold after each attack on it.

    :param server: the server.
    :param log: its log.
    """

    def __init__(self, server: Server, log: Path) -> None:
        self.server = server
        self._log = log
        self._read = log.stat().st_size
        self._http = Http(server)
        self._native = clickhouse_driver.Client(**server.native_arguments())
        self._native.execute("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")

    def close(self) -> None:
        self._native.disconnect()

    def connect(self, port: int) -> socket.socket:
        sock = socket.create_connection((self.server.host, port), timeout=END_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def stored(self) -> int:
        """Rows in the table, which is empty again afterwards."""
        assert self.server.process.poll() is None, "the server crashed"
        ((rows,),) = self._native.execute("SELECT count() FROM t")
        if rows:
            self._native.execute("TRUNCATE TABLE t")
        return rows

    def check(self) -> None:
        """It answers over both protocols, and has not met anything that it did not foresee."""
        assert self._http.ask("SELECT 1") == "1"
        assert self._native.execute("SELECT 1") == [(1,)]
        with self._log.open("rb") as log:
            log.seek(self._read)
            news = log.read().decode(errors="replace")
        self._read += len(news.encode(errors="replace"))
        assert "Traceback" not in news, news
