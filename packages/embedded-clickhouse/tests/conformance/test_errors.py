"""Errors of every kind: the same code through each client, wherever in a result, and a client that goes on."""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING, Any

import pytest

from clickhouse_testkit.target import CLIENTS, Failure, NativeClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_testkit.suite import Suite
    from clickhouse_testkit.target import Client, Target

_ROWS = 200_000
# Small blocks, one thread: the first rows are on their way long before the last are made.
_IN_BLOCKS = {"max_block_size": 10_000, "max_threads": 1}
_POSITIONS = {"first row": 0, "first block": 9_999, "second block": 10_000, "late": 150_000, "last row": _ROWS - 1}


@pytest.fixture(params=sorted(CLIENTS))
def client(suite: Suite, request: pytest.FixtureRequest) -> Client:
    return suite.client(request.param)


@contextlib.contextmanager
def _refused(client: Client, code: int) -> Iterator[None]:
    """The block fails with this code, and the same client goes on."""
    with pytest.raises(Failure) as caught:
        yield
    assert caught.value.code == code, caught.value.text
    assert [tuple(row) for row in client.rows("SELECT 42")] == [(42,)]


@pytest.fixture
def table(suite: Suite) -> Iterator[str]:
    """An empty table whose values must be under 100."""
    name = suite.new_name()
    suite.plain.ask(
        f"CREATE TABLE {name} (a UInt32, b UInt32, CONSTRAINT small CHECK a < 100) ENGINE = MergeTree ORDER BY a"
    )
    yield name
    suite.plain.ask(f"DROP TABLE {name} SYNC")


_BEFORE: dict[str, tuple[str, int]] = {
    "syntax": ("SELEC 1", 62),
    "syntax in the middle": ("SELECT 1 FROM numbers(1) WHERE", 62),
    "two statements": ("SELECT 1; SELECT 2", 62),
    "unclosed string": ("SELECT 'a", 62),
    "unknown table": ("SELECT * FROM no_such_table", 60),
    "unknown column": ("SELECT no_such_column FROM numbers(1)", 47),
    "unknown function": ("SELECT no_such_function(1)", 46),
    "unknown table function": ("SELECT * FROM no_such_function(1)", 46),
    "unknown database": ("SELECT * FROM no_such_database.t", 81),
    "unknown database for a table": ("CREATE TABLE no_such_database.t (a UInt8) ENGINE = Memory", 81),
    "unknown engine": ("CREATE TABLE no_engine (a UInt8) ENGINE = NoSuchEngine", 56),
    "unknown type": ("CREATE TABLE no_type (a NoSuchType) ENGINE = Memory", 50),
    "unknown setting in the statement": ("SELECT 1 SETTINGS no_such_setting = 1", 115),
    "types without a common one": ("SELECT [1, 'a']", 386),
    "argument of a wrong type": ("SELECT toDate([1])", 43),
    "too few arguments": ("SELECT plus(1)", 42),
    "comparison of a number and text": ("SELECT 1 WHERE 'a'", 59),
    "aggregate in WHERE": ("SELECT 1 FROM numbers(3) WHERE count() > 1", 184),
    "column outside GROUP BY": ("SELECT number, count() FROM numbers(3) GROUP BY number % 2", 215),
    "subquery of several rows": ("SELECT (SELECT number FROM numbers(2))", 125),
    "missing parameter": ("SELECT {x:UInt8}", 456),
    "table that is already there": ("CREATE TABLE {table} (a UInt8) ENGINE = Memory", 57),
    "drop of a missing table": ("DROP TABLE no_such_table", 60),
    "alter of a missing column": ("ALTER TABLE {table} DROP COLUMN no_such_column", 10),
    "mutation of a key": ("ALTER TABLE {table} UPDATE a = 1 WHERE 1", 420),
    "insert into a missing table": ("INSERT INTO no_such_table VALUES (1)", 60),
    "insert into a missing column": ("INSERT INTO {table} (no_such_column) VALUES (1)", 16),
    "insert of a select with too few columns": ("INSERT INTO {table} SELECT 1", 20),
    "limit of what is read": ("SELECT count() FROM numbers(1000000) SETTINGS max_rows_to_read = 1000", 158),
    "limit of what is made": ("SELECT * FROM numbers(100000) SETTINGS max_result_rows = 10, max_block_size = 10", 396),
    "memory": ("SELECT groupArray(number) FROM numbers(50000000) SETTINGS max_memory_usage = 10000000", 241),
    "time": ("SELECT count() FROM system.numbers WHERE NOT ignore(number) SETTINGS max_execution_time = 0.2", 159),
}


@pytest.mark.parametrize("kind", _BEFORE)
def test_an_error_before_the_result(client: Client, table: str, kind: str) -> None:
    sql, code = _BEFORE[kind]
    with _refused(client, code):
        client.rows(sql.replace("{table}", table))


_IN_THE_MIDDLE = {
    "throwIf": ("throwIf(number = {at})", 395),
    "division by zero": ("intDiv(1, toInt64(number) - {at})", 153),
    "text that is no number": ("toUInt32(if(number = {at}, 'x', '1'))", 6),
    "text that is no date": ("toDate(if(number = {at}, 'not a date', '2026-01-01'))", 38),
    "decimal overflow": ("CAST(if(number = {at}, 1e20, 1.), 'Decimal(9, 2)')", 407),
    "unknown member of an enum": ("CAST(if(number = {at}, 'c', 'a'), 'Enum8(\\'a\\' = 1)')", 691),
    "a string that is too long": ("toFixedString(if(number = {at}, 'abc', 'a'), 2)", 131),
}


@pytest.mark.parametrize("position", _POSITIONS)
@pytest.mark.parametrize("kind", _IN_THE_MIDDLE)
def test_an_error_while_rows_are_made(client: Client, kind: str, position: str) -> None:
    expression, code = _IN_THE_MIDDLE[kind]
    sql = f"SELECT number, {expression.replace('{at}', str(_POSITIONS[position]))} AS x FROM numbers({_ROWS})"
    with _refused(client, code):
        client.rows(sql, _IN_BLOCKS)


@pytest.mark.parametrize("position", _POSITIONS)
def test_rows_before_an_error_are_those_of_the_result(suite: Suite, position: str) -> None:
    at = _POSITIONS[position]
    reply = suite.plain.post(f"SELECT number, throwIf(number = {at}) FROM numbers({_ROWS})", **_IN_BLOCKS)
    assert reply.code == 395
    if reply.status == 200:
        whole = [line for line in reply.body.splitlines() if line.endswith(b"\t0")]
        assert whole == [b"%d\t0" % number for number in range(len(whole))]
        assert len(whole) <= at


def test_an_error_after_much_of_the_result_does_not_look_like_success(suite: Suite) -> None:
    reply = suite.plain.post(f"SELECT number, throwIf(number = {_ROWS - 1}) FROM numbers({_ROWS})", **_IN_BLOCKS)
    assert (reply.status, reply.code) == (200, 395)
    waited = suite.plain.post(
        f"SELECT number, throwIf(number = {_ROWS - 1}) FROM numbers({_ROWS})", **_IN_BLOCKS, wait_end_of_query=1
    )
    assert (waited.status, waited.headers["x-clickhouse-exception-code"]) == (500, "395")


@pytest.mark.parametrize("accepted", ["", "gzip"], ids=["plain", "gzip"])
def test_an_error_after_little_of_the_result_is_a_reply_of_its_own(suite: Suite, accepted: str) -> None:
    sql = "SELECT number, throwIf(number = 500) FROM numbers(1000) FORMAT TSV"
    compressed = {"enable_http_compression": 1} if accepted else {}
    reply = suite.plain.post(
        sql, **_IN_BLOCKS | {"max_block_size": 10}, **compressed, headers={"Accept-Encoding": accepted}
    )
    assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (500, "395")
    body = gzip.decompress(reply.body) if reply.headers.get("content-encoding") == "gzip" else reply.body
    assert body.startswith(b"Code: 395. DB::Exception: ")


_TIMEOUTS = ("count()", "number")


@pytest.mark.parametrize("what", _TIMEOUTS)
def test_a_statement_ends_at_its_time(client: Client, what: str) -> None:
    sql = f"SELECT {what} FROM system.numbers WHERE sipHash64(number) % 1000000 = 0"
    with _refused(client, 159):
        client.rows(sql, {"max_execution_time": 0.3})


def test_what_was_made_in_time_can_be_wanted(client: Client) -> None:
    settings = {"max_execution_time": 0.3, "timeout_overflow_mode": "break", "max_threads": 1}
    rows = client.rows("SELECT number FROM system.numbers WHERE number % 100000 = 0", settings)
    assert rows
    assert [tuple(row) for row in rows] == [(100_000 * index,) for index in range(len(rows))]


def test_memory_of_a_statement_is_bounded_by_its_setting(client: Client) -> None:
    with _refused(client, 241):
        client.rows("SELECT groupArray(number) FROM numbers(50000000)", {"max_memory_usage": 20_000_000})


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"max_threads": "many"}, 27), ({"max_memory_usage": "-"}, 72)],
    ids=["text", "no number"],
)
def test_a_bad_setting_is_refused_and_the_next_statement_is_as_before(
    suite: Suite, settings: dict[str, Any], code: int
) -> None:
    for client in (suite.plain, suite.native):
        before = client.rows("SELECT getSetting('max_threads'), getSetting('max_memory_usage')")
        with pytest.raises(Failure) as caught:
            client.rows("SELECT 1", settings)
        assert caught.value.code == code, caught.value.text
        assert client.rows("SELECT getSetting('max_threads'), getSetting('max_memory_usage')") == before


def test_an_unknown_setting_is_refused_unless_it_is_not_important_to_the_client(suite: Suite) -> None:
    unknown = {"no_such_setting": "1", "max_block_size": "123"}
    with _refused(suite.plain, 115):
        suite.plain.rows("SELECT 1", unknown)
    with contextlib.closing(NativeClient(suite.target, settings_is_important=True)) as strict, _refused(strict, 115):
        strict.rows("SELECT 1", unknown)
    assert suite.native.rows("SELECT getSetting('max_block_size')", unknown) == [(123,)]


@pytest.mark.parametrize("name", sorted(CLIENTS))
@pytest.mark.parametrize(
    ("wrong", "code"), [("password", 516), ("user", 516), ("database", 81)], ids=["password", "user", "database"]
)
def test_who_may_not_in_is_told_why(target: Target, name: str, wrong: str, code: int) -> None:
    stranger = {
        "password": target.with_account(target.user, "not the password"),
        "user": target.with_account("nobody_of_this_name", target.password),
        "database": target.with_database("no_such_database"),
    }[wrong]
    with pytest.raises(Failure) as caught:
        CLIENTS[name](stranger).rows("SELECT 1")
    assert caught.value.code == code


_READ_ONLY = {"readonly": 1}
_CHANGES = {
    "create": "CREATE TABLE read_only (a UInt8) ENGINE = Memory",
    "drop": "DROP TABLE {table}",
    "insert": "INSERT INTO {table} SELECT 1, 3",
    "alter": "ALTER TABLE {table} ADD COLUMN z UInt8",
    "mutation": "ALTER TABLE {table} DELETE WHERE 1",
    "delete": "DELETE FROM {table} WHERE 1",
    "truncate": "TRUNCATE TABLE {table}",
    "rename": "RENAME TABLE {table} TO other_name",
    "system": "SYSTEM STOP MERGES {table}",
    "optimize": "OPTIMIZE TABLE {table} FINAL",
}


@pytest.mark.parametrize("name", ["plain", "native"])
@pytest.mark.parametrize("kind", _CHANGES)
def test_a_read_only_statement_changes_nothing(suite: Suite, table: str, name: str, kind: str) -> None:
    client = suite.client(name)
    suite.plain.ask(f"INSERT INTO {table} VALUES (1, 2)")
    with _refused(client, 164):
        client.rows(_CHANGES[kind].replace("{table}", table), _READ_ONLY)
    assert suite.plain.ask(f"SELECT * FROM {table}") == "1\t2"
    assert [list(row) for row in client.rows(f"SELECT a FROM {table}", _READ_ONLY)] == [[1]]


@pytest.mark.parametrize("kind", _CHANGES)
def test_a_get_changes_nothing(suite: Suite, table: str, kind: str) -> None:
    suite.plain.ask(f"INSERT INTO {table} VALUES (1, 2)")
    sql = _CHANGES[kind].replace("{table}", table)
    reply = suite.plain.request("GET", query=sql, database=suite.target.database)
    assert reply.code == 164
    assert suite.plain.ask(f"SELECT * FROM {table}") == "1\t2"
    assert suite.plain.request("GET", query="SELECT 1 SETTINGS max_threads = 2").text == "1\n"


# Inserts.

_BAD_DATA: dict[str, tuple[str, bytes, set[int]]] = {
    "text for a number": ("TabSeparated", b"1\t1\nx\t2\n", {27}),
    "too few columns": ("CSV", b"1,1\n2\n", {27}),
    "broken JSON": ("JSONEachRow", b'{"a": 1, "b": 1}\n{"a": ', {27, 32, 117}),
    "unknown field": ("JSONEachRow", b'{"a": 1, "nope": 1}', {117}),
    "cut RowBinary": ("RowBinary", b"\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00", {33}),
    "cut Native": ("Native", b"\x02\x01\x01a\x06UInt32\x01\x00", {33}),
    "no Native": ("Native", b"this is not a block at all", {32, 33, 50, 62, 117, 261}),
    "no Parquet": ("Parquet", b"this is not Parquet", {36, 117, 636}),
    "unfinished VALUES": ("Values", b"(1, 1), (2, ", {27, 32, 62}),
    "unknown format": ("NoSuchFormat", b"1", {73}),
}


@pytest.mark.parametrize("kind", _BAD_DATA)
def test_an_insert_of_bad_data_stores_nothing(suite: Suite, table: str, kind: str) -> None:
    fmt, data, codes = _BAD_DATA[kind]
    reply = suite.plain.data(f"INSERT INTO {table} FORMAT {fmt}", data, input_format_skip_unknown_fields=0)
    assert reply.status >= 400
    assert reply.code in codes, reply.text
    assert suite.plain.ask(f"SELECT count() FROM {table}") == "0"


def test_an_insert_that_selects_from_bad_data_stores_nothing(suite: Suite, table: str) -> None:
    reply = suite.plain.data(f"INSERT INTO {table} SELECT x, x FROM input('x UInt32') FORMAT CSV", "1\nnope\n")
    assert reply.status >= 400
    assert reply.code in {6, 27, 72, 117}, reply.text
    assert "/" not in reply.text.partition("DB::Exception")[2].partition("(version")[0], "no path of the server's"
    assert suite.plain.ask(f"SELECT count() FROM {table}") == "0"


def test_an_insert_against_a_constraint_stores_none_of_its_block(client: Client, table: str) -> None:
    with _refused(client, 469):
        client.insert(table, ["a", "b"], ["UInt32", "UInt32"], [(1, 0), (2, 0), (100, 0)])
    client.insert(table, ["a", "b"], ["UInt32", "UInt32"], [(3, 0)])
    assert [list(row) for row in client.rows(f"SELECT a FROM {table}")] == [[3]]


def test_an_insert_of_a_select_that_fails_at_once_stores_nothing(client: Client, table: str) -> None:
    with _refused(client, 395):
        client.rows(f"INSERT INTO {table} SELECT number, throwIf(number = 50) FROM numbers(60)")
    assert [list(row) for row in client.rows(f"SELECT count() FROM {table}")] == [[0]]


def test_an_insert_that_a_materialized_view_refuses_is_an_error(client: Client, suite: Suite, table: str) -> None:
    view = suite.new_name()
    suite.plain.ask(
        f"CREATE MATERIALIZED VIEW {view} ENGINE = MergeTree ORDER BY x AS"
        f" SELECT intDiv(1, toInt32(a) - 7) AS x FROM {table}"
    )
    with _refused(client, 153):
        client.insert(table, ["a", "b"], ["UInt32", "UInt32"], [(7, 0)])
    client.insert(table, ["a", "b"], ["UInt32", "UInt32"], [(8, 0)])
    assert suite.plain.ask(f"SELECT x FROM {view}") == "1"
    suite.plain.ask(f"DROP TABLE {view} SYNC")


@pytest.mark.parametrize("name", ["connect", "native"])
@pytest.mark.parametrize(
    ("columns", "code"), [(["a", "no_such_column"], 16), (["a", "a"], 15)], ids=["unknown", "twice"]
)
def test_an_insert_with_wrong_columns_is_refused(
    suite: Suite, table: str, name: str, columns: list[str], code: int
) -> None:
    client = suite.client(name)
    with _refused(client, code):
        client.insert(table, columns, ["UInt32", "UInt32"], [(1, 1)])
    assert suite.plain.ask(f"SELECT count() FROM {table}") == "0"


def test_many_errors_do_not_wear_a_client_out(client: Client) -> None:
    for number in range(50):
        with pytest.raises(Failure) as caught:
            client.rows(f"SELECT no_such_column_{number}")
        assert caught.value.code == 47
    assert [list(row) for row in client.rows("SELECT 42")] == [[42]]
