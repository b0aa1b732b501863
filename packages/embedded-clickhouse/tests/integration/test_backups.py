"""BACKUP and RESTORE, into the folder that the configuration allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clickhouse_testkit.native_client import connected
from clickhouse_testkit.plain_http import Http
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from pathlib import Path

_FILL = "INSERT INTO kept SELECT number, toString(number * 7), toDate('2026-01-01') + number % 90 FROM numbers(10000)"
_HASH = "SELECT count(), groupBitXor(cityHash64(*)) FROM kept"


def _made(http: Http) -> str:
    http.ask("CREATE TABLE kept (a UInt32, b String, d Date) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY a")
    http.ask(_FILL)
    http.ask("CREATE VIEW seen AS SELECT max(a) AS a FROM kept")
    return http.ask(_HASH)


@pytest.mark.parametrize("place", ["File('first')", "Disk('backups', 'first')", "File('first.tar.gz')"])
def test_what_was_dropped_comes_back(tmp_path: Path, place: str) -> None:
    with running_server(tmp_path) as server:
        http = Http(server)
        before = _made(http)
        assert before.startswith("10000\t")
        assert "BACKUP_CREATED" in http.ask(f"BACKUP DATABASE test TO {place}")
        assert [path.name for path in (tmp_path / "data" / "backups").iterdir()] == [place.split("'")[-2]]
        http.ask("DROP DATABASE test SYNC")
        reply = http.request(body=f"RESTORE DATABASE test FROM {place}")
        assert "RESTORED" in reply.text
        assert http.ask(_HASH) == before
        assert http.ask("SELECT a FROM seen") == "9999"


def test_a_backup_is_restored_by_another_server(tmp_path: Path) -> None:
    config = f'[engine]\nbackups_path = "{tmp_path}/shared backups"\n'
    with running_server(tmp_path / "one", config=config) as server:
        before = _made(Http(server))
        with connected(server) as client:
            ((_, status),) = client.execute(f"BACKUP TABLE test.kept TO File('{tmp_path}/shared backups/of one')")
            assert status == "BACKUP_CREATED"
    with running_server(tmp_path / "two", config=config) as server, connected(server) as client:
        ((_, status),) = client.execute("RESTORE TABLE test.kept FROM File('of one')")
        assert status == "RESTORED"
        assert Http(server).ask(_HASH) == before
        # That of the configuration is the only one.
        reply = Http(server).post(f"BACKUP TABLE kept TO File('{tmp_path}/two/data/backups/x')")
        assert reply.headers["x-clickhouse-exception-code"] == "36"


def test_later_backups_may_build_on_earlier_ones(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        http = Http(server)
        _made(http)
        http.ask("BACKUP TABLE kept TO File('full')")
        http.ask(_FILL)
        before = http.ask(_HASH)
        http.ask("BACKUP TABLE kept TO File('more') SETTINGS base_backup = File('full')")
        http.ask("DROP TABLE kept SYNC")
        http.ask("RESTORE TABLE kept FROM File('more')")
        assert http.ask(_HASH) == before
        outside = f"BACKUP TABLE kept TO File('x') SETTINGS base_backup = File('{tmp_path}/y')"
        assert http.post(outside).headers["x-clickhouse-exception-code"] == "36"


def test_links_in_the_folder_of_backups_do_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with running_server(tmp_path / "server") as server:
        http = Http(server)
        http.ask("CREATE TABLE kept (a UInt32) ENGINE = MergeTree ORDER BY a")
        (tmp_path / "server" / "data" / "backups" / "link").symlink_to(outside)
        for place in ("File('link/x')", "Disk('backups', 'link/x')", f"File('{tmp_path}/server/data/backups/link/x')"):
            assert http.post(f"BACKUP TABLE kept TO {place}").status >= 400
        assert not list(outside.iterdir())
