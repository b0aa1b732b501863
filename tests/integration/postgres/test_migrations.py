"""PostgreSQL's migrations on a real server: role and database, files applied once, and how they refuse."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from maxy.migrations import MIGRATIONS_DIRECTORY, AdminLogin, MigrateError, Migrations, PostgresMigrations
from maxy.postgres.connect import connect
from scripts.migrate import main

if TYPE_CHECKING:
    from pathlib import Path

    from embedded_clickhouse.testing import Server
    from maxy.postgres.address import PostgresAddress
    from tests.postgres_support import PostgresServer

WEB = ["001_web_audit.sql", "002_web_idempotency.sql"]


@pytest.fixture
def address(postgres_server: PostgresServer) -> PostgresAddress:
    """Of a role and a database that are not there yet."""
    return postgres_server.new_address()


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A family's folder, below a folder of migrations of its own."""
    folder = tmp_path / "postgres" / "toys"
    folder.mkdir(parents=True)
    (folder / "001_toys.sql").write_text("CREATE TABLE toys (name text); INSERT INTO toys VALUES ('100 % ball');\n")
    return folder


def rows(address: PostgresAddress, query: str) -> list[tuple[Any, ...]]:
    with connect(address) as connection:
        return connection.execute(query.encode()).fetchall()


def apply(address: PostgresAddress, toys: Path, admin: AdminLogin | None = None) -> list[str]:
    return [step.file for step in PostgresMigrations(directory=toys.parents[1]).apply(address, admin=admin)]


def test_role_and_database_are_made_and_every_file_is_applied_once(
    postgres_server: PostgresServer, address: PostgresAddress
) -> None:
    migrations = PostgresMigrations(family="web")
    (plan,) = migrations.plan(address, admin=postgres_server.admin)
    assert (plan.place, [step.file for step in plan.steps]) == (f"{address} (to be made)", WEB)
    assert [step.file for step in migrations.apply(address, admin=postgres_server.admin)] == WEB
    # Now it needs no administrator any more.
    assert migrations.apply(address) == []
    (plan,) = migrations.plan(address)
    assert (plan.place, plan.steps) == (str(address), ())
    recorded = rows(address, "SELECT version, name, length(sha256) FROM schema_versions_web ORDER BY version")
    assert recorded == [(number, name, 64) for number, name in enumerate(WEB, start=1)]


def test_the_role_owns_its_database_and_has_no_other_rights(
    postgres_server: PostgresServer, address: PostgresAddress
) -> None:
    PostgresMigrations().apply(address, admin=postgres_server.admin)
    rights = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = current_user"
    assert rows(address, rights) == [(False, False, False, False)]
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert rows(address, owner) == [(address.user,)]


def test_a_role_whose_password_was_changed_in_the_settings_gets_the_new_one(
    postgres_server: PostgresServer, address: PostgresAddress
) -> None:
    PostgresMigrations().apply(address, admin=postgres_server.admin)
    changed = replace(address, password="another 'one'")
    with pytest.raises(MigrateError, match="password authentication failed"):
        PostgresMigrations().apply(changed)
    assert PostgresMigrations().apply(changed, admin=postgres_server.admin) == []
    assert rows(changed, "SELECT 1") == [(1,)]


def test_without_an_administrator_the_statements_to_run_are_named(
    postgres_server: PostgresServer, address: PostgresAddress
) -> None:
    with pytest.raises(MigrateError) as raised:
        PostgresMigrations().apply(address)
    text = str(raised.value)
    assert f'CREATE DATABASE "{address.database}" OWNER "{address.user}"' in text
    assert address.password not in text
    with pytest.raises(MigrateError, match="CREATE ROLE"):
        PostgresMigrations().plan(address)
    # As told: then the migrations need no administrator.
    create_role, create_database = text.partition("run: ")[2].rstrip(";").split("; ")
    with connect(postgres_server.as_admin(), autocommit=True) as connection:
        connection.execute(create_role.replace("<POSTGRES_PASSWORD>", address.password).encode())
        connection.execute(create_database.encode())
    assert [step.file for step in PostgresMigrations().apply(address)] == WEB


def test_a_wrong_administrator_is_named_and_no_password_is_shown(address: PostgresAddress) -> None:
    with pytest.raises(MigrateError, match=r"as airflow: .*password authentication failed") as raised:
        PostgresMigrations().apply(address, admin=AdminLogin("airflow", "not-the-word"))
    assert "not-the-word" not in str(raised.value)
    assert address.password not in str(raised.value)
    assert "not-the-word" not in repr(AdminLogin("airflow", "not-the-word"))
    assert address.password not in repr(address)


def test_an_unreachable_server_is_named(address: PostgresAddress) -> None:
    with pytest.raises(MigrateError, match=r"PostgreSQL 127\.0\.0\.1:1, database .*refused"):
        PostgresMigrations().apply(replace(address, host="127.0.0.1", port=1))


def test_airflows_metadata_database_gets_no_tables(postgres_server: PostgresServer, address: PostgresAddress) -> None:
    PostgresMigrations(family="none").apply(address)
    with connect(postgres_server.as_admin(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{address.database}"'.encode())
    metadata = postgres_server.as_admin(address.database)
    with connect(metadata) as connection:
        connection.execute("CREATE TABLE dag_run (id int)")
        connection.execute("CREATE TABLE task_instance (id int)")
    for look in (PostgresMigrations().apply, PostgresMigrations().plan):
        with pytest.raises(MigrateError, match=r"Airflow's metadata database.*POSTGRES_DB"):
            look(metadata)
    assert rows(metadata, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(2,)]


def test_a_file_that_fails_leaves_nothing_and_is_taken_up_again(
    postgres_server: PostgresServer, address: PostgresAddress, toys: Path
) -> None:
    second = toys / "002_more.sql"
    second.write_text("CREATE TABLE more (name text);\nINSERT INTO\n  toyz VALUES ('ball');\n")
    with pytest.raises(MigrateError, match=r"toys/002_more\.sql, line 3: .*toyz"):
        apply(address, toys, postgres_server.admin)
    # The first one stands, of the second one nothing.
    assert rows(address, "SELECT name FROM toys") == [("100 % ball",)]
    assert rows(address, "SELECT to_regclass('more')") == [(None,)]
    second.write_text("CREATE TABLE more (name text);\n")
    assert apply(address, toys) == ["002_more.sql"]


def test_a_file_that_was_changed_after_it_was_applied_is_refused(
    postgres_server: PostgresServer, address: PostgresAddress, toys: Path
) -> None:
    apply(address, toys, postgres_server.admin)
    file = toys / "001_toys.sql"
    before = file.read_text()
    file.write_text(before + "-- changed\n")
    (toys / "002_more.sql").write_text("CREATE TABLE more (name text);\n")
    for look in (PostgresMigrations(directory=toys.parents[1]).plan, lambda address: apply(address, toys)):
        with pytest.raises(MigrateError, match=r"database \w+: toys: 001_toys\.sql was changed since"):
            look(address)
    assert rows(address, "SELECT to_regclass('more')") == [(None,)]
    file.write_text(before)
    assert apply(address, toys) == ["002_more.sql"]


def test_a_database_that_is_newer_than_the_checkout_is_refused(
    postgres_server: PostgresServer, address: PostgresAddress, toys: Path
) -> None:
    (toys / "002_more.sql").write_text("SELECT 1;\n")
    apply(address, toys, postgres_server.admin)
    (toys / "002_more.sql").unlink()
    with pytest.raises(MigrateError, match=r"002_more\.sql was applied on .*newer than this checkout"):
        apply(address, toys)


def test_a_number_below_one_that_is_applied_is_refused(
    postgres_server: PostgresServer, address: PostgresAddress, toys: Path
) -> None:
    (toys / "003_late.sql").write_text("SELECT 1;\n")
    apply(address, toys, postgres_server.admin)
    (toys / "002_early.sql").write_text("SELECT 1;\n")
    with pytest.raises(MigrateError, match=r"002_early\.sql comes before 003_late\.sql.*above 3"):
        apply(address, toys)


@pytest.mark.parametrize("word", ["COMMIT;", "rollback ;", "START TRANSACTION;", "  begin;", "END;"])
def test_a_file_that_would_end_its_transaction_is_refused(toys: Path, word: str) -> None:
    (toys / "002_more.sql").write_text(f"CREATE TABLE more (name text);\n{word}\n")
    with pytest.raises(MigrateError, match=r"toys/002_more\.sql: .* has no place here"):
        PostgresMigrations(directory=toys.parents[1])


def test_functions_may_have_a_body(postgres_server: PostgresServer, address: PostgresAddress, toys: Path) -> None:
    (toys / "002_function.sql").write_text(
        "CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n    RETURN 1;\nEND\n$$;\n"
    )
    assert apply(address, toys, postgres_server.admin) == ["001_toys.sql", "002_function.sql"]
    assert rows(address, "SELECT one()") == [(1,)]


def test_commands_at_once_apply_each_file_once(postgres_server: PostgresServer, address: PostgresAddress) -> None:
    start = threading.Barrier(4)

    def migrate(_: int) -> list[str]:
        start.wait()
        return [step.file for step in PostgresMigrations().apply(address, admin=postgres_server.admin)]

    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, range(4)))
    assert sorted(applied) == [[], [], [], WEB]


def test_a_command_waits_for_the_one_before_it(
    postgres_server: PostgresServer, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maxy.migrations.postgres._LOCK_TIMEOUT_SECONDS", 0.2)
    PostgresMigrations().apply(address, admin=postgres_server.admin)
    with connect(address, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", (0x6D617879, 1))
        with pytest.raises(MigrateError, match="another command has been migrating it"):
            PostgresMigrations().apply(address)
    assert PostgresMigrations().apply(address) == []


def test_the_command_migrates_both_databases(
    clickhouse_server: Server,
    postgres_server: PostgresServer,
    address: PostgresAddress,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment = {
        "CLICKHOUSE_HOST": clickhouse_server.host,
        "CLICKHOUSE_NATIVE_PORT": str(clickhouse_server.tcp_port),
        "CLICKHOUSE_USER": clickhouse_server.user,
        "CLICKHOUSE_PASSWORD": clickhouse_server.password,
        "CLICKHOUSE_DB": address.database,
        "POSTGRES_HOST": address.host,
        "POSTGRES_USER": address.user,
        "POSTGRES_PASSWORD": address.password,
        "POSTGRES_DB": address.database,
        "POSTGRES_ADMIN_USER": postgres_server.admin.user,
        "POSTGRES_ADMIN_PASSWORD": postgres_server.admin.password,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["--plan"]) == 0
    planned = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]
    statistics = sorted(path.name for path in (MIGRATIONS_DIRECTORY / "clickhouse" / "statistics").glob("*.sql"))
    assert planned == [*statistics, *WEB]
    assert main(["--family", "web"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"applied postgres/web/{name}" for name in WEB]
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [f"applied clickhouse/statistics/{name}" for name in statistics]
    assert main() == 0
    assert capsys.readouterr().out == "nothing to apply: the database is up to date\n"
    # A deployment of a former release has no such variables.
    assert Migrations({**environment, "POSTGRES_HOST": ""}).apply_postgres() == []


def test_files_of_the_package_are_no_templates_and_name_no_role(tmp_path: Path) -> None:
    """So that they mean the same wherever they are applied."""
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS_DIRECTORY / "postgres", copy)
    for path in copy.rglob("*.sql"):
        text = path.read_text(encoding="utf-8")
        assert "{{" not in text
        assert "${" not in text
        assert "OWNER" not in text.upper()


def test_an_error_of_the_server_keeps_its_kind_as_the_cause(address: PostgresAddress, toys: Path) -> None:
    with pytest.raises(MigrateError) as raised:
        apply(address, toys, AdminLogin("nobody", ""))
    assert isinstance(raised.value.__cause__, psycopg.Error)
