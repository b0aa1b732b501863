"""A disk without room: the error of a server, nothing stored, nothing left, and the server goes on."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
from clickhouse_driver.errors import Error as DriverError

from clickhouse_testkit.native_client import connected
from clickhouse_testkit.plain_http import Http
from embedded_clickhouse.testing import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DISK_BYTES = 64 * 1024 * 1024
_NOT_ENOUGH_SPACE = 243


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", f"test-{uuid.uuid4().hex}", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("Only root may mount the small file system that this test fills.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _full(folder: Path) -> Path:
    """A file that takes all the room but a little."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        while (free := shutil.disk_usage(folder).free) > 512 * 1024:
            file.write(bytes(min(free // 2, 1 << 20)))
            file.flush()
    return ballast


def _spooled(server: Server) -> list[Path]:
    return list((server.log_path.parent / "spool").iterdir())


def test_an_insert_that_has_no_room_is_refused_and_leaves_nothing(small_disk: Path) -> None:
    rows = b"".join(b"%d,%d\n" % (n, n * n) for n in range(200_000))
    with running_server(small_disk / "server") as server, connected(server) as client:
        http = Http(server)
        http.ask("CREATE TABLE t (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a")
        ballast = _full(small_disk)
        for body, headers in ((rows, {}), (gzip.compress(rows), {"Content-Encoding": "gz"})):
            own = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password, **headers}
            reply = http.request(body=body, headers=own, query="INSERT INTO test.t FORMAT CSV")
            assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (500, str(_NOT_ENOUGH_SPACE))
            assert "No space left on device" in reply.text
            assert not _spooled(server)
        with pytest.raises(DriverError) as raised:
            client.execute("INSERT INTO test.t VALUES", [(n, n) for n in range(100_000)])
        assert getattr(raised.value, "code", None) == _NOT_ENOUGH_SPACE
        assert not _spooled(server)
        # Both connections go on, and so does the next insert once there is room.
        assert client.execute("SELECT count() FROM test.t") == [(0,)]
        ballast.unlink()
        client.execute("INSERT INTO test.t VALUES", [(1, 1)])
        assert http.ask("SELECT count() FROM t") == "1"
        assert "Traceback" not in server.log_path.read_text()
