"""A server with a configuration file of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local.clickhouse.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[3]
_FIRST_LINE = re.compile(r"ClickHouse answers on 127\.0\.0\.1: HTTP (\d+), native (\d+) \(pid (\d+), [\d.]+ s\)\n")
_STOP_SECONDS = 40.0


@contextmanager
def configured_server(directory: Path, config: str) -> Iterator[Server]:
    """Serve ``directory`` until the end of the block.

    :param config: the text of the configuration file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config_path = directory / "server.toml"
    config_path.write_text(config, encoding="utf-8")
    log_path = directory / "server.log"
    command = [sys.executable, "-m", "local.clickhouse", "serve", str(directory), "--config", str(config_path)]
    command += ["--http-port", "0", "--tcp-port", "0", "--user", "tester", "--database", "test"]
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "CLICKHOUSE_PASSWORD": "local-test"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            # It comes once both ports answer; nothing, when the server ends before that.
            ready = _FIRST_LINE.fullmatch(process.stdout.readline())
            assert ready is not None, log_path.read_text()
            http_port, tcp_port, pid = map(int, ready.groups())
            assert pid == process.pid
            yield Server(
                host="127.0.0.1",
                http_port=http_port,
                tcp_port=tcp_port,
                user="tester",
                password="local-test",
                database="test",
                pid=pid,
                process=process,
                log_path=log_path,
            )
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)
