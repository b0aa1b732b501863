"""Many clients at once for some seconds over both protocols; and statements that were killed amid their data."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from clickhouse_benchmarks.soak.clients import Client, HttpClient, NativeClient, Refused
from clickhouse_benchmarks.soak.load import Load, growth
from clickhouse_benchmarks.soak.usage import Usage
from clickhouse_testkit.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from embedded_clickhouse.testing import Server

_SECONDS = 5.0
_KILL_SECONDS = 3.0
_CANCELLED = 394


def test_nothing_is_wrong_stuck_or_left_behind_after_many_clients(tmp_path: Path) -> None:
    result = Load(tmp_path, seed=4, clients=24, report=lambda _: None).run(_SECONDS)
    assert result.faults == [], str(result)
    assert result.rows > 0
    assert min(result.done.values()) >= 24
    assert result.exit_status == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"python_threads": 11}, "python_threads grew from 10 to 11"),
        ({"sockets": 3}, "sockets grew from 2 to 3"),
        ({"spooled": 1}, "spooled grew from 0 to 1"),
        ({"memory_mb": 500.0}, "memory grew from 200 to 500 MB"),
    ],
)
def test_what_is_left_behind_is_a_fault(changed: dict[str, float], words: str) -> None:
    figures = {"python_threads": 10, "engine_threads": 5, "sockets": 2, "spooled": 0, "data_files": 0, "files": 30}
    before = Usage(**figures, memory_mb=200.0)
    assert growth(before, before) == []
    assert growth(before, Usage(**{**figures, "memory_mb": 200.0, **changed})) == [words]


@pytest.mark.parametrize("kind", [HttpClient, NativeClient])
def test_an_insert_that_waits_for_its_data_can_be_killed(
    server: Server, table: str, kind: type[HttpClient | NativeClient]
) -> None:
    inserting: Client = kind(server)
    killing = HttpClient(server)
    insert = inserting.begin(table, query_id=f"waits {table}")
    insert.send([(1, "a")])
    # Over HTTP nothing tells the client that the server has begun with it.
    running = f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'waits {table}'"
    eventually(lambda: killing.rows(running) == [[1]], "the insert begins")
    killer = threading.Thread(
        target=lambda: killing.rows(f"KILL QUERY WHERE query_id = 'waits {table}' ASYNC"), daemon=True
    )
    killer.start()
    killer.join(_KILL_SECONDS)
    try:
        assert not killer.is_alive(), "KILL QUERY hangs"
        with pytest.raises(Refused) as caught:
            insert.end()
        assert caught.value.code == _CANCELLED
        assert killing.rows(f"SELECT count() FROM {table}") == [[0]]
    finally:
        inserting.close()
        killer.join()
        killing.close()
