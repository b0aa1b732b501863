"""Each service's disk is full, and is freed; every process is killed in one moment, as by a power cut."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import psycopg2
import redis

from local.services.clickhouse import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.rig import Rig


def try_all(rig: Rig) -> None:
    rig.run("down").must_succeed()
    sizes = {"clickhouse": 400, "valkey": 64, "postgres": 300}
    folders = {name: rig.mount_small(name, megabytes) for name, megabytes in sizes.items()}
    rig.run("up").must_succeed()
    writes: dict[str, Callable[[Rig], str]] = {
        "clickhouse": _to_clickhouse,
        "valkey": _to_valkey,
        "postgres": _to_postgres,
    }
    for name, write in writes.items():
        rig.expect(
            f"{name}'s disk full, then freed",
            "status and up name it in a line; all works after",
            partial(_fill, rig, name, folders[name], write),
        )
    rig.expect("power cut", "up brings all back with its data", lambda: _cut_power(rig))
    rig.run("down").must_succeed()
    rig.unmount_all()
    rig.expect("the whole folder's disk full", "stop works, status names it", lambda: _fill_everything(rig))
    rig.run("up").must_succeed()


def _fill(rig: Rig, name: str, folder: Path, write: Callable[[Rig], str]) -> str:
    with _full(folder):
        refusal = write(rig)
        status = rig.run("status").must_be_clear()
        warnings = status.lines("warning: disk space", name)
        assert len(warnings) == 1, status.text
        line = next(line for line in status.text.splitlines() if line.startswith(name))
        up = rig.run("up").must_be_clear()
        assert up.lines("warning: disk space", name), up.text
    after = rig.wait_for_status()
    assert not after.lines("warning: disk space"), after.text
    assert write(rig) == "taken"
    return f"a write: {refusal} | {' '.join(line.split()[:12])} | {warnings[0]} | up ended with {up.status}"


def _to_clickhouse(rig: Rig) -> str:
    query = rig.stack.stack.clickhouse.query
    try:
        query("CREATE TABLE IF NOT EXISTS fill (value UInt64, text String) ENGINE = MergeTree ORDER BY value")
        query("INSERT INTO fill SELECT number, randomPrintableASCII(200) FROM numbers(20000)")
        query("DROP TABLE fill SYNC")
    except QueryError as error:
        return str(error)[:80]
    return "taken"


def _to_valkey(rig: Rig) -> str:
    with rig.stack.stack.valkey.client() as client:
        try:
            # The file is written once a second: the first writes after it has filled up are still taken.
            for number in range(200):
                client.set(f"fill:{number}", "x" * 50_000)
                client.waitaof(1, 0, 1500)
            client.delete(*(f"fill:{number}" for number in range(200)))
        except redis.RedisError as error:
            return str(error)[:80]
    return "taken"


def _to_postgres(rig: Rig) -> str:
    try:
        with rig.stack.stack.postgres.connection() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS fill (text text)")
            cursor.execute("INSERT INTO fill SELECT repeat(md5(n::text), 40) FROM generate_series(1, 30000) AS n")
            cursor.execute("DROP TABLE fill")
            connection.commit()
    except psycopg2.Error as error:
        return str(error).splitlines()[0][:80]
    return "taken"


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Fill a file system to the last byte."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError:
                    continue
        yield
    finally:
        filler.unlink()


def _cut_power(rig: Rig) -> str:
    stack = rig.stack.stack
    stack.clickhouse.query("CREATE TABLE kept (value UInt8) ENGINE = MergeTree ORDER BY value")
    stack.clickhouse.query("INSERT INTO kept VALUES (7)")
    with stack.valkey.client() as client:
        client.set("kept", "7")
        client.waitaof(1, 0, 5000)
    count = rig.signal_all(signal.SIGKILL)
    rig.run("status").must_fail()
    rig.run("up").must_succeed()
    rig.wait_for_status()
    assert stack.clickhouse.query("SELECT value FROM kept") == "7\n"
    with stack.valkey.client() as client:
        assert client.get("kept") == "7"
    return f"{count} processes killed; up, status and the data are right"


def _fill_everything(rig: Rig) -> str:
    """Not only the data: the pid files, the logs and the lock as well."""
    rig.mount_all(1500)
    rig.run("up").must_succeed()
    with _full(rig.local_dir):
        status = rig.run("status").must_be_clear()
        warnings = status.lines("warning: disk space")
        assert len(warnings) == 1, status.text
        stopped = rig.run("down").must_succeed()
        assert rig.processes() == [], rig.processes()
        up = rig.run("up").must_fail()
        rig.run("down").must_succeed()
        assert rig.processes() == [], rig.processes()
    rig.run("up").must_succeed()
    rig.wait_for_status()
    rig.run("down").must_succeed()
    rig.unmount_all()
    return f"{warnings[0][:90]}; {len(stopped.lines('stopped'))} stopped; up: {up.text.strip().splitlines()[-1][:120]}"
