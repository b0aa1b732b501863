"""What a session tells its server before a statement, against a driver that only takes notes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_driver.errors import ServerException

from maxy.clickhouse.literals import UnquotableError
from maxy.hooks.clickhouse import ClickHouseSession, SettingError


class Driver:
    """A server that knows max_threads, and takes settings of its own making that begin with ``own_``."""

    def __init__(self, *, settings: dict[str, Any] | None = None) -> None:
        self.settings = settings or {}
        self.sent: list[tuple[str, Any]] = []
        self.last_query = SimpleNamespace(progress=SimpleNamespace(rows=1, bytes=2, written_rows=3))
        self.fails: type[BaseException] | None = None

    def execute(self, sql: str, **options: Any) -> Any:
        self.sent.append((sql, options.get("settings")))
        if sql.startswith("SELECT name FROM system.settings"):
            return [("max_threads",)] if "'max_threads'" in sql else []
        if sql.startswith("SET ") and not sql.startswith("SET own_"):
            raise ServerException("Unknown setting", 115)
        if self.fails is not None:
            raise self.fails
        return []

    def disconnect(self) -> None:
        self.sent.append(("disconnect", None))


def statements(driver: Driver) -> list[str]:
    return [sql for sql, _ in driver.sent]


def session(driver: Any) -> ClickHouseSession:
    return ClickHouseSession(driver)


def test_settings_of_the_servers_own_making_are_told_it_once() -> None:
    driver = Driver()
    run = session(driver).run
    settings = {"own_team": "it's", "own_flag": True, "max_threads": 2, "quota_key": "q"}
    run("SELECT 1", settings=settings)
    run("SELECT 2", settings=settings)
    assert statements(driver) == [
        "SELECT name FROM system.settings WHERE name IN ['max_threads', 'own_flag', 'own_team']",
        "SET own_flag = 1",
        r"SET own_team = 'it\'s'",
        "SELECT 1",
        "SELECT 2",
    ]
    assert driver.sent[-1][1] == {"own_team": "it's", "own_flag": 1, "max_threads": 2, "quota_key": "q"}


def test_a_statement_without_settings_asks_nothing() -> None:
    driver = Driver()
    session(driver).run("SELECT 1")
    assert statements(driver) == ["SELECT 1"]


@pytest.mark.parametrize("settings", [{"nonsense": 1}, {"own_team": "x", "max_thread": 1}])
def test_a_setting_that_nobody_knows_stops_the_statement(settings: dict[str, Any]) -> None:
    driver = Driver()
    with pytest.raises(SettingError, match="the server knows no setting of this name"):
        session(driver).run("DROP TABLE t", settings=settings)
    assert "DROP TABLE t" not in statements(driver)


def test_settings_of_the_connection_are_looked_at_as_well() -> None:
    driver = Driver(settings={"max_thread": 1})
    with pytest.raises(SettingError, match="'max_thread'"):
        session(driver).run("SELECT 1")


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"1"])
def test_what_is_no_value_is_not_sent(value: Any) -> None:
    driver = Driver()
    with pytest.raises(SettingError, match=f"'max_threads': a {type(value).__name__} is no value"):
        session(driver).run("SELECT 1", settings={"max_threads": value})
    assert driver.sent == []


def test_a_value_that_cannot_be_written_sends_nothing() -> None:
    driver = Driver()
    with pytest.raises(UnquotableError, match="parameter a: a set"):
        session(driver).run("SELECT %(a)s", parameters={"a": set()})
    assert driver.sent == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, OSError])
def test_a_statement_that_is_cut_off_leaves_no_half_read_connection(failure: type[BaseException]) -> None:
    driver = Driver()
    one = session(driver)
    one.run("SELECT 1", settings={"own_team": "x"})
    driver.fails = failure
    with pytest.raises(failure):
        one.run("SELECT 2")
    driver.fails = None
    one.run("SELECT 3", settings={"own_team": "x"})
    # The new connection has not been told of the setting.
    assert statements(driver)[-5:] == [
        "SELECT 2",
        "disconnect",
        "SELECT name FROM system.settings WHERE name IN ['own_team']",
        "SET own_team = 'x'",
        "SELECT 3",
    ]
