"""Dates and times: the server's zone, a type's zone and a session's zone, over both protocols."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_testkit.suite import Suite

_NEW_YORK = ZoneInfo("America/New_York")
# Two instants at the end of summer time that show the same time of day, and one on each side of its start.
_INSTANTS = [1_793_511_000, 1_793_514_600, 1_772_953_199, 1_772_953_200, 0, 2**31, 1_784_116_800]


@pytest.fixture(scope="module")
def zone(suite: Suite) -> ZoneInfo:
    return ZoneInfo(suite.timezone)


@pytest.fixture(scope="module")
def table(suite: Suite) -> Iterator[str]:
    """Instants as a type without zone, with one, and with another."""
    name = suite.new_name()
    suite.plain.ask(
        f"CREATE TABLE {name} (i UInt32, d DateTime, u DateTime('UTC'), n DateTime('America/New_York'),"
        " m DateTime64(3, 'America/New_York')) ENGINE = MergeTree ORDER BY i"
    )
    rows = ", ".join(f"({instant}, {instant}, {instant}, {instant}, {instant})" for instant in _INSTANTS)
    suite.plain.ask(
        f"INSERT INTO {name} SELECT * FROM VALUES('a UInt32, b UInt32, c UInt32, d UInt32, e UInt32', {rows})"
    )
    yield name
    suite.plain.ask(f"DROP TABLE {name} SYNC")


def _text(instant: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(instant, zone).strftime("%Y-%m-%d %H:%M:%S")


def test_text_is_in_the_zone_of_its_type(suite: Suite, table: str, zone: ZoneInfo) -> None:
    lines = suite.plain.ask(f"SELECT i, d, u, n, m FROM {table} ORDER BY i").splitlines()
    assert lines == [
        f"{i}\t{_text(i, zone)}\t{_text(i, ZoneInfo('UTC'))}\t{_text(i, _NEW_YORK)}\t{_text(i, _NEW_YORK)}.000"
        for i in sorted(_INSTANTS)
    ]


@pytest.mark.parametrize("name", ["connect", "native"])
def test_clients_read_the_same_instants(suite: Suite, table: str, zone: ZoneInfo, name: str) -> None:
    types, rows = suite.client(name).read(f"SELECT i, d, u, n, m FROM {table} ORDER BY i")
    assert types == [
        "UInt32",
        "DateTime",
        "DateTime('UTC')",
        "DateTime('America/New_York')",
        "DateTime64(3, 'America/New_York')",
    ]
    for instant, here, *others in rows:
        assert here.replace(tzinfo=None) == datetime.fromtimestamp(instant, zone).replace(tzinfo=None)
        assert [int(other.timestamp()) for other in others] == [instant] * 3
        assert [str(other.tzinfo) for other in others] == ["UTC", "America/New_York", "America/New_York"]


@pytest.mark.parametrize("name", ["connect", "native"])
@pytest.mark.parametrize(
    "sql",
    [
        "toDateTime(0, 'America/New_York')",
        "toDateTime64(0, 6, 'America/New_York')",
        "toTimeZone(toDateTime(0), 'America/New_York')",
        "[toDateTime(0, 'America/New_York')]",
        "tuple(toDateTime(0, 'America/New_York'), 'x')",
        "map('a', toDateTime(0, 'America/New_York'))",
        "toNullable(toDateTime(0, 'America/New_York'))",
    ],
)
def test_an_expression_keeps_its_zone(suite: Suite, name: str, sql: str) -> None:
    (expected,) = suite.plain.ask(f"SELECT toTypeName({sql})").splitlines()
    types, rows = suite.client(name).read(f"SELECT {sql} AS x, 'behind' AS y")
    assert types == [expected.replace("\\'", "'"), "String"]
    assert "16:00" not in str(rows)
    assert str(rows).count("19, 0") == 1


@pytest.mark.parametrize("name", ["connect", "native"])
def test_text_without_a_zone_is_in_the_servers(suite: Suite, zone: ZoneInfo, name: str) -> None:
    sql = "SELECT toUInt32(toDateTime('2026-07-15 12:00:00')), toUInt32(toDateTime('2026-07-15 12:00:00', 'UTC'))"
    here = int(datetime(2026, 7, 15, 12, tzinfo=zone).timestamp())
    there = int(datetime(2026, 7, 15, 12, tzinfo=UTC).timestamp())
    assert [tuple(row) for row in suite.client(name).rows(sql)] == [(here, there)]


@pytest.mark.parametrize("name", ["connect", "native"])
def test_what_a_client_inserts_is_the_instant_it_meant(suite: Suite, name: str) -> None:
    stored = suite.new_name()
    suite.plain.ask(
        f"CREATE TABLE {stored} (d DateTime, n DateTime('America/New_York'), m DateTime64(6, 'Asia/Kolkata'))"
        " ENGINE = MergeTree ORDER BY d"
    )
    meant = datetime(2026, 7, 15, 12, 34, 56, tzinfo=ZoneInfo("Europe/Paris"))
    types = ["DateTime", "DateTime('America/New_York')", "DateTime64(6, 'Asia/Kolkata')"]
    suite.client(name).insert(stored, ["d", "n", "m"], types, [(meant, meant, meant)])
    sql = f"SELECT toUInt32(d), toUInt32(n), toUnixTimestamp64Micro(m) FROM {stored}"
    seconds = int(meant.timestamp())
    assert suite.plain.ask(sql) == f"{seconds}\t{seconds}\t{seconds * 1_000_000}"
    suite.plain.ask(f"DROP TABLE {stored} SYNC")


@pytest.mark.parametrize("name", ["plain", "connect", "native"])
def test_a_session_may_have_a_zone_of_its_own(suite: Suite, zone: ZoneInfo, name: str) -> None:
    sql = (
        "SELECT toString(toDateTime(0)), toString(toDateTime64(0, 3)), timezone(),"
        " toUInt32(toDateTime('2026-07-15 12:00:00'))"
    )
    expected = int(datetime(2026, 7, 15, 12, tzinfo=_NEW_YORK).timestamp())
    rows = suite.client(name).rows(sql, {"session_timezone": "America/New_York"})
    assert [[value.decode() if isinstance(value, bytes) else value for value in row] for row in rows] == [
        ["1969-12-31 19:00:00", "1969-12-31 19:00:00.000", "America/New_York", expected]
    ]
    assert suite.plain.ask("SELECT toDateTime(0)") == _text(0, zone)
    again = suite.client(name).rows("SELECT toString(toDateTime(0)) AS t")
    assert _text(0, zone) in str(again)


def test_the_reply_names_the_zone_of_the_session(suite: Suite) -> None:
    reply = suite.plain.post("SELECT 1", session_timezone="America/New_York")
    assert reply.headers["x-clickhouse-timezone"] == "America/New_York"
    assert suite.plain.post("SELECT 1").headers["x-clickhouse-timezone"] == suite.timezone


def test_days_begin_at_midnight_of_their_zone(suite: Suite) -> None:
    # The day summer time ends has 25 hours, the day it starts 23.
    sql = (
        "SELECT toStartOfDay(toDateTime({at:UInt32}), 'America/New_York') AS a,"
        " toUInt32(toStartOfDay(a + INTERVAL 36 HOUR, 'America/New_York')) - toUInt32(a)"
    )
    for instant, hours in ((1_793_511_000, 25), (1_772_953_200, 23), (1_784_116_800, 24)):
        start, length = suite.plain.ask(sql, param_at=instant).split("\t")
        assert start.endswith("00:00:00")
        assert int(length) == hours * 3600


def test_the_greeting_names_the_servers_zone(suite: Suite) -> None:
    suite.native.rows("SELECT 1")
    assert suite.native.client.connection.server_info.get_timezone() == suite.timezone
    assert str(suite.connect.client.server_tz) == suite.timezone
