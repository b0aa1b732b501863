"""ClickHouse's migrations on a real engine: what they make, that they can be applied again, and how they refuse."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
from clickhouse_migrations.clickhouse_cluster import ClickhouseCluster

from embedded_clickhouse.testing import running_server
from maxy.migrations import (
    MIGRATIONS_DIRECTORY,
    ClickHouseMigrations,
    ClickHouseServer,
    MigrateError,
    SourceTables,
)
from scripts.migrate import main
from tests.support import KEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

FILES = [
    "001_maxy_app_total_log.sql",
    "002_maxy_device_page_flow.sql",
    "003_maxy_device_access_history.sql",
    "004_maxy_device_access_bitmap.sql",
    "005_max_device_statistic.sql",
    "006_maxy_page_live.sql",
    "007_maxy_page_live_out_of_range.sql",
    "008_maxy_partition_report.sql",
]

FOLDER = "clickhouse/statistics"
#: Of the former commits, by what they recorded: the files' own bytes.
MD5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in (MIGRATIONS_DIRECTORY / FOLDER).glob("*.sql")}
TTL_LOGGER = "maxy.migrations.clickhouse_tables"

_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("clickhouse")
    with running_server(directory, timezone="UTC", user="maxy", password="secret", database="maxy") as server:
        yield server


@pytest.fixture
def database() -> str:
    """The name of a database that no other test uses."""
    return f"maxy_{next(_numbers)}"


@pytest.fixture
def target(server: Server, database: str) -> ClickHouseServer:
    """This test's database."""
    return ClickHouseServer(
        host=server.host, native_port=server.tcp_port, user=server.user, password=server.password, database=database
    )


@pytest.fixture
def run(target: ClickHouseServer) -> Callable[..., list[str]]:
    """Migrate this test's database, with some settings replaced, and return the names of the files applied."""

    def run(server: ClickHouseServer = target, **settings: Any) -> list[str]:
        migrations = ClickHouseMigrations(**{"timezone": "UTC", **settings})
        return [step.file for step in migrations.apply(server)]

    return run


@pytest.fixture
def client(server: Server, database: str) -> Iterator[Client]:
    """Connected to this test's database, which exists but is empty."""
    arguments: dict[str, Any] = {"host": server.host, "port": server.http_port, "username": server.user}
    with clickhouse_connect.get_client(**arguments, password=server.password) as admin:
        admin.command(f"CREATE DATABASE {database}")
    with clickhouse_connect.get_client(**arguments, password=server.password, database=database) as client:
        yield client


def columns_of(client: Client, table: str) -> dict[str, str]:
    rows = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        " ORDER BY position",
        parameters={"table": table},
    ).result_rows
    return {name: kind for name, kind in rows}


def definition_of(client: Client, table: str) -> str:
    return str(
        client.command(
            "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
            parameters={"name": table},
        )
    )


def insert_starts(client: Client, rows: list[tuple[Any, ...]]) -> None:
    """Insert page_flow rows of (UTC time, device, package, server type, system, log type)."""
    values = [(f"{row[0]}", number, *row[1:]) for number, row in enumerate(rows)]
    for at, number, device, package, server_type, system, log_type in values:
        client.command(
            "INSERT INTO maxy_device_page_flow (page_start_tm, page_start_tm_dt, device_id, sum_mem_usage, package_nm,"
            " server_type, os_type, log_type) SELECT toUnixTimestamp({at:DateTime('UTC')}) * 1000,"
            " {at:DateTime('UTC')}, {device:String}, {number:UInt64}, {package:Nullable(String)},"
            " {server_type:Nullable(UInt32)}, {system:Nullable(String)}, {log_type:Nullable(UInt64)}",
            parameters={
                "at": at,
                "device": device,
                "number": number,
                "package": package,
                "server_type": server_type,
                "system": system,
                "log_type": log_type,
            },
        )


def test_a_new_database_gets_every_file_once(run: Callable[..., list[str]]) -> None:
    assert run() == FILES
    assert run() == []


def test_the_written_table_has_its_documented_columns(run: Callable[..., list[str]], client: Client) -> None:
    run()
    expected = {
        "stat_date": "Date",
        "package_nm": "String",
        "server_type": "UInt32",
        "os_type": "String",
        "visit": "UInt64",
        "install": "UInt64",
        "login": "UInt64",
        "dau": "UInt64",
        "revisit_7d": "UInt64",
        "mau": "UInt64",
        "crash_count": "UInt64",
        "error_count": "UInt64",
        "js_error_count": "UInt64",
        "log_count": "UInt64",
        "intervaltime_avg": "Float64",
        "lcp_avg": "Float64",
        "ttfb_avg": "Float64",
        "fcp_avg": "Float64",
        "inp_avg": "Float64",
        "pv": "UInt64",
        "updated_at": "DateTime64(3, 'UTC')",
    }
    assert columns_of(client, "max_device_statistic") == expected
    assert columns_of(client, "maxy_device_statistic") == expected


def test_the_source_tables_have_their_documented_types(run: Callable[..., list[str]], client: Client) -> None:
    run()
    page_flow, total_log = columns_of(client, "maxy_device_page_flow"), columns_of(client, "maxy_app_total_log")
    for columns in (page_flow, total_log):
        assert columns["reg_dt"] == "DateTime64(3)"
        assert columns["package_nm"] == columns["os_type"] == "Nullable(String)"
        assert columns["server_type"] == columns["intervaltime"] == "Nullable(UInt32)"
    assert page_flow["page_start_tm_dt"] == total_log["log_tm_dt"] == "DateTime"
    assert page_flow["lcp"] == "Nullable(Float64)"
    assert total_log["log_type"] == "UInt64"
    assert columns_of(client, "maxy_device_access_history") == {
        "log_date": "Date",
        "package_nm": "String",
        "server_type": "UInt32",
        "os_type": "String",
        "device_id": "String",
        "visit_cnt": "UInt64",
        "install_cnt": "UInt64",
        "login_cnt": "UInt64",
    }
    assert columns_of(client, "maxy_device_access_bitmap")["users"] == "AggregateFunction(groupBitmap, UInt64)"


def test_the_access_tables_count_installs_and_starts(run: Callable[..., list[str]], client: Client) -> None:
    run(ttl_days=KEEP)
    noon = "2026-11-20 12:00:00"
    insert_starts(
        client,
        [
            (noon, "d1", "shop", 0, "Web", 1048597),
            (noon, "d1", "shop", 0, "Web", 1048580),
            (noon, "d1", "shop", 0, "Web", 1048580),
            (noon, "d2", "shop", 0, "Web", 1048580),
            (noon, "d2", "shop", 0, "Web", 1048592),
            (noon, "d3", "shop", 0, "Web", None),
        ],
    )
    history = client.query(
        "SELECT toString(log_date), package_nm, server_type, os_type, device_id, sum(visit_cnt), sum(install_cnt),"
        " sum(login_cnt) FROM maxy_device_access_history GROUP BY ALL ORDER BY device_id"
    ).result_rows
    assert [tuple(row) for row in history] == [
        ("2026-11-20", "shop", 0, "Web", "d1", 3, 1, 0),
        ("2026-11-20", "shop", 0, "Web", "d2", 1, 0, 0),
    ]
    assert client.command("SELECT groupBitmapMerge(users) FROM maxy_device_access_bitmap") == 2


def test_a_missing_name_enters_the_access_tables_blank_and_a_missing_server_type_does_not(
    run: Callable[..., list[str]], client: Client
) -> None:
    run(ttl_days=KEEP)
    noon = "2026-11-20 12:00:00"
    insert_starts(
        client,
        [
            (noon, "d1", None, 0, "Web", 1048580),
            (noon, "d2", "shop", 0, None, 1048580),
            (noon, "d3", "shop", None, "Web", 1048580),
        ],
    )
    for table in ("maxy_device_access_history", "maxy_device_access_bitmap"):
        rows = client.query(f"SELECT package_nm, server_type, os_type FROM {table} ORDER BY ALL").result_rows
        assert [tuple(row) for row in rows] == [("", 0, "Web"), ("shop", 0, "")]


@pytest.mark.parametrize(
    ("timezone", "first", "last", "day"),
    [
        ("UTC", "2026-11-20 00:00:00", "2026-11-20 23:59:59", "2026-11-20"),
        ("Asia/Seoul", "2026-11-19 15:00:00", "2026-11-20 14:59:59", "2026-11-20"),
        ("America/New_York", "2026-03-08 05:00:00", "2026-03-09 03:59:59", "2026-03-08"),
        ("America/New_York", "2026-11-01 04:00:00", "2026-11-02 04:59:59", "2026-11-01"),
    ],
)
def test_days_are_cut_at_the_zones_midnight(
    run: Callable[..., list[str]], client: Client, timezone: str, first: str, last: str, day: str
) -> None:
    run(timezone=timezone, ttl_days=KEEP)
    insert_starts(client, [(at, "d1", "shop", 0, "Web", 1048580) for at in (first, last)])
    for table in ("maxy_device_access_history", "maxy_device_access_bitmap"):
        days = client.query(f"SELECT DISTINCT toString(log_date) FROM {table}").result_rows
        assert [row[0] for row in days] == [day]
    parts = client.query(
        "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase() AND active"
        " AND table = 'maxy_device_page_flow'"
    ).result_rows
    assert [row[0] for row in parts] == [day.replace("-", "")]


def test_a_day_of_statistics_can_be_swapped_in(run: Callable[..., list[str]], client: Client) -> None:
    run(ttl_days=KEEP)
    client.command("CREATE TABLE stage AS max_device_statistic")
    for table, day, pv in (
        ("max_device_statistic", "2026-11-19", 1),
        ("max_device_statistic", "2026-11-20", 2),
        ("stage", "2026-11-20", 3),
    ):
        client.command(
            f"INSERT INTO {table} (stat_date, package_nm, server_type, os_type, pv)"
            " SELECT {day:Date}, 'shop', 0, 'Web', {pv:UInt64}",
            parameters={"day": day, "pv": pv},
        )
    client.command("ALTER TABLE max_device_statistic REPLACE PARTITION '2026-11-20' FROM stage")
    rows = client.query("SELECT toString(stat_date), pv FROM maxy_device_statistic ORDER BY stat_date").result_rows
    assert [tuple(row) for row in rows] == [("2026-11-19", 1), ("2026-11-20", 3)]


def test_the_ttls_are_those_of_the_settings(run: Callable[..., list[str]], client: Client) -> None:
    run(ttl_days={"total_log": 2, "page_flow": 50, "access_history": 60, "device_statistic": 70})
    assert "TTL log_tm_dt + toIntervalDay(2)" in definition_of(client, "maxy_app_total_log")
    assert "TTL page_start_tm_dt + toIntervalDay(50)" in definition_of(client, "maxy_device_page_flow")
    assert "TTL log_date + toIntervalDay(60)" in definition_of(client, "maxy_device_access_history")
    assert "TTL log_date + toIntervalDay(60)" in definition_of(client, "maxy_device_access_bitmap")
    assert "TTL stat_date + toIntervalDay(70)" in definition_of(client, "max_device_statistic")


def test_another_ttl_is_named_and_does_not_stop_the_rest(
    run: Callable[..., list[str]], caplog: pytest.LogCaptureFixture, database: str
) -> None:
    run()
    assert run(ttl_days={"page_flow": 31}) == []
    warnings = [record.getMessage() for record in caplog.records if record.name == TTL_LOGGER]
    assert len(warnings) == 1
    assert "maxy_device_page_flow keeps 93 days since it was made, the settings say 31" in warnings[0]
    assert f"ALTER TABLE {database}.maxy_device_page_flow MODIFY TTL page_start_tm_dt + INTERVAL 31 DAY" in warnings[0]


def test_the_statement_the_warning_gives_brings_the_table_up_to_date(
    run: Callable[..., list[str]], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    run()
    run(ttl_days={"device_statistic": 400})
    client.command(caplog.records[-1].getMessage().partition("To change it: ")[2])
    caplog.clear()
    run(ttl_days={"device_statistic": 400})
    assert [record for record in caplog.records if record.name == TTL_LOGGER] == []


def test_another_zone_is_refused_with_the_way_out(run: Callable[..., list[str]], database: str) -> None:
    run(timezone="Asia/Seoul")
    with pytest.raises(
        MigrateError, match=r"begins its days in Asia/Seoul.*asked for is UTC.*MAXY_TIMEZONE=Asia/Seoul"
    ) as error:
        run(timezone="UTC")
    assert f"database {database}" in str(error.value)
    assert run(timezone="Asia/Seoul") == []


FOREIGN_SOURCES = (
    "CREATE TABLE maxy_app_total_log (log_tm UInt64) ENGINE = MergeTree ORDER BY log_tm",
    "CREATE TABLE maxy_device_page_flow (page_start_tm_dt DateTime, device_id String) ENGINE = MergeTree ORDER BY ()",
    "CREATE TABLE maxy_device_access_history (log_date Date, device_id String) ENGINE = SummingMergeTree ORDER BY ()",
    "CREATE TABLE maxy_device_access_bitmap (log_date Date) ENGINE = MergeTree ORDER BY ()",
    "CREATE MATERIALIZED VIEW their_view TO maxy_device_access_history AS"
    " SELECT toDate(page_start_tm_dt, 'Asia/Seoul') AS log_date, device_id FROM maxy_device_page_flow",
)


def test_source_tables_of_another_program_are_not_filled_twice(run: Callable[..., list[str]], client: Client) -> None:
    for statement in FOREIGN_SOURCES:
        client.command(statement)
    with pytest.raises(MigrateError, match=r"their_view already fills .*MAXY_SOURCE_TABLES=existing"):
        run(timezone="Asia/Seoul")
    assert definition_of(client, "maxy_device_access_history_mv") == ""


def test_existing_source_tables_are_left_as_they_are(run: Callable[..., list[str]], client: Client) -> None:
    for statement in FOREIGN_SOURCES:
        client.command(statement)
    before = definition_of(client, "maxy_device_page_flow")
    existing = {"timezone": "Asia/Seoul", "source_tables": SourceTables.EXISTING}
    assert run(**existing) == FILES[4:]
    assert run(**existing) == []
    assert definition_of(client, "maxy_device_page_flow") == before
    assert definition_of(client, "maxy_device_access_history_mv") == ""
    with pytest.raises(MigrateError, match=r"their_view begins its days in Asia/Seoul"):
        run(timezone="UTC", source_tables=SourceTables.EXISTING)


def test_existing_source_tables_must_exist(run: Callable[..., list[str]], client: Client) -> None:
    client.command(FOREIGN_SOURCES[0])
    with pytest.raises(MigrateError, match="there is no table maxy_device_access_bitmap, maxy_device_access_history"):
        run(source_tables=SourceTables.EXISTING)


def test_a_wrong_password_is_named_and_not_shown(run: Callable[..., list[str]], target: ClickHouseServer) -> None:
    with pytest.raises(MigrateError, match=r"(?i)authentication|password") as error:
        run(replace(target, password="not-the-word"))
    assert "not-the-word" not in str(error.value)


def test_an_unreachable_server_is_named(run: Callable[..., list[str]], target: ClickHouseServer) -> None:
    with pytest.raises(MigrateError, match=r"ClickHouse 127\.0\.0\.1:1, database .*refused"):
        run(replace(target, host="127.0.0.1", native_port=1))


def test_a_file_that_was_changed_after_it_was_applied_is_refused(run: Callable[..., list[str]], tmp_path: Path) -> None:
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS_DIRECTORY, copy)
    run(directory=copy)
    path = copy / FOLDER / FILES[4]
    path.write_text(path.read_text() + "\n-- changed\n")
    with pytest.raises(MigrateError, match=r"statistics: 005_max_device_statistic\.sql was changed since"):
        run(directory=copy)


def test_a_broken_file_stops_there_and_is_taken_up_again(run: Callable[..., list[str]], tmp_path: Path) -> None:
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS_DIRECTORY, copy)
    path = copy / FOLDER / FILES[3]
    good = path.read_text()
    path.write_text(good.replace("groupBitmapState", "groupBitmapStaet"))
    with pytest.raises(MigrateError, match="groupBitmapStaet"):
        run(directory=copy)
    path.write_text(good)
    assert run(directory=copy) == FILES[3:]


def test_the_script_reads_the_environment(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "CLICKHOUSE_HOST": server.host,
        "CLICKHOUSE_NATIVE_PORT": str(server.tcp_port),
        "CLICKHOUSE_USER": server.user,
        "CLICKHOUSE_PASSWORD": server.password,
        "CLICKHOUSE_DB": database,
        "MAXY_TIMEZONE": "Asia/Seoul",
    }.items():
        monkeypatch.setenv(name, value)
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [f"applied {FOLDER}/{name}" for name in FILES]
    assert main() == 0
    assert capsys.readouterr().out == "nothing to apply: the database is up to date\n"
    assert main(["--plan", "--family", "statistics"]) == 0
    assert capsys.readouterr().out == (
        f"statistics, ClickHouse {server.host}:{server.tcp_port}, database {database}: nothing to apply\n"
    )
    monkeypatch.setenv("MAXY_TIMEZONE", "UTC")
    assert main() == 1
    assert "begins its days in Asia/Seoul" in capsys.readouterr().err


def test_the_plan_names_what_would_be_applied_and_makes_nothing(
    run: Callable[..., list[str]], target: ClickHouseServer, server: Server, tmp_path: Path
) -> None:
    (plan,) = ClickHouseMigrations(timezone="UTC").plan(target)
    assert [step.file for step in plan.steps] == FILES
    with clickhouse_connect.get_client(
        host=server.host, port=server.http_port, username=server.user, password=server.password
    ) as admin:
        assert (
            admin.command("SELECT count() FROM system.databases WHERE name = {n:String}", {"n": target.database}) == 0
        )
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS_DIRECTORY, copy)
    (copy / FOLDER / FILES[-1]).unlink()
    assert run(directory=copy) == FILES[:-1]
    (plan,) = ClickHouseMigrations(timezone="UTC").plan(target)
    assert [str(step) for step in plan.steps] == [f"{FOLDER}/{FILES[-1]}"]


def test_the_plan_tells_apart_what_would_only_be_recorded(client: Client, target: ClickHouseServer) -> None:
    for statement in FOREIGN_SOURCES:
        client.command(statement)
    migrations = ClickHouseMigrations(timezone="Asia/Seoul", source_tables=SourceTables.EXISTING)
    (plan,) = migrations.plan(target)
    assert [step.action.value for step in plan.steps] == ["record"] * 4 + ["apply"] * 4


def test_a_database_of_before_there_were_families_is_up_to_date(
    run: Callable[..., list[str]], client: Client, target: ClickHouseServer
) -> None:
    """What the former releases left: the files in one folder, recorded with their md5 in the library's own table."""
    ClickhouseCluster(
        db_host=target.host, db_port=str(target.native_port), db_user=target.user, db_password=target.password
    ).migrate(
        target.database,
        MIGRATIONS_DIRECTORY / FOLDER,
        variables={"STATISTICS_TIMEZONE": "UTC"}
        | {f"{name}_TTL_DAYS": "400" for name in ("TOTAL_LOG", "PAGE_FLOW", "ACCESS_HISTORY", "DEVICE_STATISTIC")},
    )
    recorded = "SELECT version, md5, toString(created_at) FROM schema_versions ORDER BY version"
    before = client.query(recorded).result_rows
    assert [row[1] for row in before] == [MD5[name] for name in FILES]
    assert run(ttl_days=dict.fromkeys(KEEP, 400)) == []
    assert client.query(recorded).result_rows == before


def test_another_family_has_files_and_a_version_table_of_its_own(
    run: Callable[..., list[str]], client: Client, tmp_path: Path
) -> None:
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS_DIRECTORY, copy)
    toys = copy / "clickhouse" / "toys"
    toys.mkdir()
    (toys / "001_toys.sql").write_text(
        "CREATE TABLE toys (day Date) ENGINE = MergeTree ORDER BY day TTL day + INTERVAL ${TOYS_TTL_DAYS} DAY\n"
    )
    (toys / "migrations.toml").write_text('[ttl_days.toys]\ndefault = 7\ntables = ["toys"]\n')
    assert run(directory=copy, family="toys") == ["001_toys.sql"]
    assert columns_of(client, "max_device_statistic") == {}
    assert "toIntervalDay(7)" in definition_of(client, "toys")
    assert client.query("SELECT version FROM schema_versions_toys").result_rows == [(1,)]
    assert run(directory=copy) == FILES
    assert run(directory=copy) == []
    with pytest.raises(MigrateError, match="TTL toys is 0: expected 1 to 18250 days"):
        ClickHouseMigrations(timezone="UTC", ttl_days={"toys": 0}, directory=copy)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1_short.sql": ""}, "1_short.sql: expected a name such as 001_what_it_makes.sql"),
        ({"001_a.sql": "", "001_b.sql": ""}, "001_a.sql and 001_b.sql have one number"),
        ({"migrations.toml": "[ttl_days.toys]\ndefault = 0\ntables = []"}, r"ttl_days\.toys\.default: .*greater"),
        ({"migrations.toml": "version_tabel = 'x'"}, r"migrations\.toml: version_tabel: Extra inputs"),
        ({"migrations.toml": "version_table = 'x; DROP'"}, r"migrations\.toml: version_table: .*pattern"),
        ({"migrations.toml": "="}, r"migrations\.toml: Invalid"),
    ],
)
def test_a_familys_wrong_files_are_named(
    run: Callable[..., list[str]], tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = tmp_path / "clickhouse" / "toys"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(MigrateError, match=message):
        run(directory=tmp_path)


def test_a_family_that_nobody_has_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--family", "stattistics"]) == 1
    assert "no family 'stattistics' has migrations: expected statistics, web" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("POSTGRES_PORT", "nine", "POSTGRES_PORT='nine' is not a port"),
        ("MAXY_TIMEZONE", "Mars/Olympus", "unknown time zone 'Mars/Olympus'"),
        ("MAXY_TIMEZONE", "UTC'; DROP TABLE x", "unknown time zone"),
        ("MAXY_PAGE_FLOW_TTL_DAYS", "0", "TTL page_flow is 0: expected 1 to 18250 days"),
        ("MAXY_PAGE_FLOW_TTL_DAYS", "99999", "TTL page_flow is 99999"),
        ("MAXY_TOTAL_LOG_TTL_DAYS", "four", "MAXY_TOTAL_LOG_TTL_DAYS='four' is not a whole number"),
        ("MAXY_SOURCE_TABLES", "both", "MAXY_SOURCE_TABLES='both': expected create or existing"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_asked(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLICKHOUSE_NATIVE_PORT", "1")
    assert main() == 1
    assert message in capsys.readouterr().err
