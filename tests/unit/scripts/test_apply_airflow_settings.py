from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from airflow.models.base import Base
from airflow.models.connection import Connection
from airflow.models.pool import Pool
from airflow.models.variable import Variable
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from scripts.apply_airflow_settings import (
    DEFAULT_FILE,
    AirflowSettings,
    ConnectionEntry,
    PoolEntry,
    SettingsFileError,
    VariableEntry,
    apply,
    read_airflow_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = AirflowSettings(
    connections=(ConnectionEntry("redis_default", "redis", "127.0.0.1", 6379, extra='{"db": 0}'),),
    pools=(PoolEntry("clickhouse", 4, "Heavy statements"),),
    variables=(VariableEntry("maxy_timezone", "UTC"),),
)


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    tables = [Base.metadata.tables[name] for name in ("connection", "slot_pool", "variable")]
    Base.metadata.create_all(engine, tables=tables)
    with Session(engine) as session:
        yield session
    engine.dispose()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "airflow_settings.yaml"
    path.write_text(text)
    return path


def test_the_committed_file_is_valid_and_holds_no_secret() -> None:
    settings = read_airflow_settings(DEFAULT_FILE)

    assert {entry.conn_id: entry.conn_type for entry in settings.connections} == {
        "clickhouse_default": "clickhouse",
        "clickhouse_http": "http",
        "redis_default": "redis",
        "maxy_postgres": "postgres",
    }
    assert [entry.password for entry in settings.connections] == [None] * 4
    assert {entry.name for entry in settings.pools} == {"clickhouse"}
    assert all(entry.key.startswith("maxy_") for entry in settings.variables)


def test_every_pool_the_dags_use_is_listed() -> None:
    root = DEFAULT_FILE.parent
    used = {
        name
        for folder in ("dags", "plugins")
        for file in (root / folder).rglob("*.py")
        for name in re.findall(r"""\bpool=["']([^"']+)["']""", file.read_text())
    }

    assert used <= {entry.name for entry in read_airflow_settings(DEFAULT_FILE).pools}


def test_all_fields_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        airflow:
          connections:
            - {conn_id: a, conn_type: http, conn_host: h, conn_port: 1, conn_login: l, conn_password: p,
               conn_schema: s, conn_extra: {secure: true}}
            - {conn_id: b, conn_type: redis, conn_extra: '{"db": 1}'}
          pools:
            - {pool_name: p, pool_slot: 2, pool_description: d}
          variables:
            - {variable_name: v, variable_value: "1"}
        """,
    )

    assert read_airflow_settings(path) == AirflowSettings(
        connections=(
            ConnectionEntry("a", "http", "h", 1, "l", "p", "s", '{"secure": true}'),
            ConnectionEntry("b", "redis", extra='{"db": 1}'),
        ),
        pools=(PoolEntry("p", 2, "d"),),
        variables=(VariableEntry("v", "1"),),
    )


def test_the_empty_template_of_astros_tool_is_no_mistake(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        airflow:
          connections:
            - {conn_id: , conn_type: , conn_host: , conn_port: }
          pools:
            - {pool_name: , pool_slot: , pool_description: }
          variables:
        """,
    )

    assert read_airflow_settings(path) == AirflowSettings((), (), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("airflow: [", "not valid YAML"),
        ("connections: []", "one top key"),
        ("airflow: {hooks: []}", "unknown key hooks"),
        ("airflow: {pools: {a: 1}}", "pools must be a list"),
        ("airflow: {pools: [text]}", "pools, item 1: expected a mapping"),
        ("airflow: {connections: [{conn_type: http}]}", "connections, item 1: conn_id is missing"),
        ("airflow: {connections: [{conn_id: a}]}", r"item 1 \(a\): conn_type is missing"),
        ("airflow: {connections: [{conn_id: a, conn_type: b, conn_port: '1'}]}", "conn_port must be a whole number"),
        ("airflow: {connections: [{conn_id: a, conn_type: b, conn_port: 0}]}", "conn_port must be a whole number"),
        ("airflow: {connections: [{conn_id: a, conn_type: b, conn_extra: '['}]}", "conn_extra must be"),
        ("airflow: {connections: [{conn_id: a, conn_type: b, conn_extra: 3}]}", "conn_extra must be"),
        ("airflow: {connections: [{conn_id: a, conn_type: b, conn_hots: c}]}", "unknown key conn_hots"),
        ("airflow: {pools: [{pool_name: a}]}", "pool_slot is missing"),
        ("airflow: {pools: [{pool_name: a, pool_slot: true}]}", "pool_slot must be a whole number"),
        ("airflow: {variables: [{variable_name: a, variable_value: 10}]}", r"\(a\): variable_value must be a text"),
        (
            "airflow: {variables: [{variable_name: a, variable_value: b}, {variable_name: a, variable_value: c}]}",
            "item 2 .*listed twice",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)

    with pytest.raises(SettingsFileError, match=message) as raised:
        read_airflow_settings(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match=r"nothing\.yaml"):
        read_airflow_settings(tmp_path / "nothing.yaml")


def test_entries_are_created(session: Session) -> None:
    assert list(apply(SETTINGS, session, overwrite=False, environment={})) == [
        "connection redis_default: created",
        "pool clickhouse: created",
        "variable maxy_timezone: created",
    ]
    session.commit()

    connection = session.scalars(select(Connection)).one()
    assert (connection.conn_id, connection.conn_type, connection.host, connection.port) == (
        "redis_default",
        "redis",
        "127.0.0.1",
        6379,
    )
    assert connection.extra_dejson == {"db": 0}
    pool = session.scalars(select(Pool)).one()
    assert (pool.pool, pool.slots, pool.include_deferred) == ("clickhouse", 4, False)
    assert session.scalars(select(Variable)).one().val == "UTC"


def test_a_variable_that_the_environment_sets_is_stored_as_it_holds(session: Session) -> None:
    list(apply(SETTINGS, session, overwrite=False, environment={"AIRFLOW_VAR_MAXY_TIMEZONE": "Asia/Seoul"}))
    session.commit()
    assert session.scalars(select(Variable)).one().val == "Asia/Seoul"


def test_what_exists_is_kept_unless_it_is_to_be_overwritten(session: Session) -> None:
    list(apply(SETTINGS, session, overwrite=False, environment={}))
    session.scalars(select(Pool)).one().slots = 16
    session.scalars(select(Connection)).one().host = "valkey.internal"
    session.scalars(select(Variable)).one().set_val("Asia/Seoul")
    session.commit()

    assert list(apply(SETTINGS, session, overwrite=False)) == [
        "connection redis_default: kept",
        "pool clickhouse: kept",
        "variable maxy_timezone: kept",
    ]
    session.commit()
    assert session.scalars(select(Pool)).one().slots == 16
    assert session.scalars(select(Connection)).one().host == "valkey.internal"
    assert session.scalars(select(Variable)).one().val == "Asia/Seoul"

    assert list(apply(SETTINGS, session, overwrite=True, environment={})) == [
        "connection redis_default: overwritten",
        "pool clickhouse: overwritten",
        "variable maxy_timezone: overwritten",
    ]
    session.commit()
    assert session.scalars(select(Pool)).one().slots == 4
    assert session.scalars(select(Connection)).one().host == "127.0.0.1"
    assert session.scalars(select(Variable)).one().val == "UTC"
