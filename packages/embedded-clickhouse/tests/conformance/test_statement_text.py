"""Where the parts of a statement end: dollar signs in names, and data behind every kind of beginning of an insert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clickhouse_testkit.target import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_testkit.suite import Suite

# More than a server parses as a statement (max_query_size).
_MANY = 120_000


@pytest.fixture
def table(suite: Suite) -> Iterator[str]:
    """An empty table (s String)."""
    name = suite.new_name()
    suite.plain.ask(f"CREATE TABLE {name} (s String) ENGINE = MergeTree ORDER BY tuple()")
    yield name
    suite.plain.ask(f"DROP TABLE {name} SYNC")


def _texts(suite: Suite, table: str) -> list[str]:
    """What the table has, as it was stored byte for byte."""
    hexadecimal = suite.plain.ask(f"SELECT hex(s) FROM {table} ORDER BY s").splitlines()
    return [bytes.fromhex(text).decode() for text in hexadecimal]


@pytest.mark.parametrize("name", ["$y$", "$y", "y$", "$y$z", "$a$a$", "a$b$c", "$1$", "_$$"])
def test_a_name_may_have_dollar_signs(suite: Suite, name: str) -> None:
    reply = suite.plain.post(f"SELECT 1 AS {name} FORMAT JSONEachRow")
    assert reply.text == f'{{"{name}":1}}\n'
    assert reply.headers["x-clickhouse-format"] == "JSONEachRow"
    assert suite.native.rows(f"SELECT 1 AS {name}") == [(1,)]
    assert suite.connect.client.query(f"SELECT 1 AS {name}").column_names == (name,)


@pytest.mark.parametrize("name", ["$y$", "a$b$c", "$y"])
def test_a_column_whose_name_has_dollar_signs_takes_data(suite: Suite, name: str) -> None:
    table = suite.new_name()
    suite.plain.ask(f"CREATE TABLE {table} (`{name}` Int32) ENGINE = MergeTree ORDER BY tuple()")
    suite.plain.ask(f"INSERT INTO {table} ({name}) VALUES (1)")
    suite.plain.ask(f"INSERT INTO {table} ({name}) FORMAT TSV\n2\n")
    assert suite.plain.data(f"INSERT INTO {table} ({name}) FORMAT TSV", "3\n").status == 200
    suite.native.client.execute(f"INSERT INTO {table} ({name}) VALUES", [(4,)])
    suite.connect.client.insert(table, [[5]], column_names=[name])
    assert suite.plain.ask(f"SELECT * FROM {table} ORDER BY ALL").split() == list("12345")
    suite.plain.ask(f"DROP TABLE {table} SYNC")


@pytest.mark.parametrize("name", ["$x$", "x$y", "$x"])
def test_a_parameter_may_have_dollar_signs(suite: Suite, table: str, name: str) -> None:
    assert suite.plain.ask(f"SELECT {{{name}:Int32}} + 1", **{f"param_{name}": 5}) == "6"
    found = suite.connect.client.query(f"SELECT {{{name}:Int32}} AS v", parameters={name: 5})
    assert (found.column_names, found.result_rows) == (("v",), [(5,)])
    inserted = suite.plain.ask(f"INSERT INTO {{{name}:Identifier}} FORMAT TSV\na\n", **{f"param_{name}": table})
    assert (inserted, _texts(suite, table)) == ("", ["a"])


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT $$it's ; FORMAT$$", "it\\'s ; FORMAT"),
        ("SELECT $a$ $b$ ;$a$, 1 AS $b$", " $b$ ;\t1"),
        ("SELECT '$a$' AS x, 'y;$a$'", "$a$\ty;$a$"),
        ("SELECT 1 /* $a$ */ AS x; -- $a$", "1"),
        ("SELECT `$a$` FROM (SELECT 1 AS $a$)", "1"),
        ("SELECT 1 /* /* nested */ ; */", "1"),
        ("SELECT 1 // ;", "1"),
        ("SELECT\u00a01\u3000AS\u2003x", "1"),
        ("SELECT ‘it's ;’ AS “a;”", "it\\'s ;"),
    ],
)
def test_text_that_looks_like_the_end_of_a_statement(suite: Suite, sql: str, answer: str) -> None:
    assert suite.plain.ask(sql) == answer
    assert suite.plain.ask(f"{sql.removesuffix('; -- $a$')}\n FORMAT TSV") == answer


_BEGINNINGS = {
    "nothing": "",
    "comments": "/* INSERT INTO x VALUES */ -- INSERT\n",
    "a value": "WITH 1 AS y ",
    "a comment and a value": "/* ' */ WITH 1 AS y /* ; */ ",
    "several": "WITH a AS (SELECT 1), 2 AS b, c AS (SELECT * FROM (SELECT ((b)))) ",
    "something called insert": "WITH insert AS (SELECT 1), 2 AS into ",
    "an alias called insert": "WITH 1 AS select, 2 AS insert ",
    "an insert in quotes": "WITH 'INSERT INTO x VALUES' AS y, $$INSERT INTO x VALUES$$ AS z ",
    "a dollar sign": "WITH 1 AS $y$ ",
}
# No value begins with a column's end, and what would be SQL in any of them is not.
_VALUES = ["value;", " first", "last  ", "it's", "$y$", "(", "/* ", "-- x", "'", "INSERT INTO t VALUES", '`;"']


@pytest.mark.parametrize("beginning", _BEGINNINGS)
def test_data_behind_an_insert_is_kept_byte_for_byte(suite: Suite, table: str, beginning: str) -> None:
    insert = f"{_BEGINNINGS[beginning]}INSERT INTO {table} (s)"
    # A tag of a heredoc is one wherever its second stands.
    values = [value for value in _VALUES if "$" not in insert or "$" not in value]
    data = "".join(f"{value}\n" for value in values)
    expected = sorted(values)
    suite.plain.ask(f"{insert} FORMAT TabSeparated\n{data}")
    assert _texts(suite, table) == expected
    assert suite.plain.data(f"{insert} SETTINGS max_threads = 1 FORMAT TabSeparated", data).status == 200
    assert _texts(suite, table) == sorted(2 * expected)
    rows = b"".join(bytes([len(value)]) + value.encode() for value in values)
    assert suite.plain.post(f"{insert} FORMAT RowBinary\n".encode() + rows).status == 200
    assert _texts(suite, table) == sorted(3 * expected)
    quoted = ", ".join("('" + value.replace("'", "''") + "')" for value in values)
    suite.plain.ask(f"{insert} VALUES {quoted};")
    assert _texts(suite, table) == sorted(4 * expected)


@pytest.mark.parametrize("beginning", _BEGINNINGS)
def test_blocks_follow_every_kind_of_insert(suite: Suite, table: str, beginning: str) -> None:
    insert = f"{_BEGINNINGS[beginning]}INSERT INTO {table} (s)"
    # The driver's own insert, below what looks for INSERT as the first word.
    client = suite.native.client
    for ending, rows in (("VALUES", [(b"a;",), (b"b'",)]), ("SETTINGS max_threads = 1 FORMAT Native", [(b"c",)])):
        with client.disconnect_on_error(insert, {}):
            assert client.process_insert_query(f"{insert} {ending}", rows) == len(rows)
    assert _texts(suite, table) == ["a;", "b'", "c"]


@pytest.mark.parametrize("beginning", ["nothing", "a value", "an alias called insert"])
@pytest.mark.parametrize("where", ["behind the statement", "in the body"])
def test_data_larger_than_a_statement_may_be(suite: Suite, table: str, beginning: str, where: str) -> None:
    insert = f"{_BEGINNINGS[beginning]}INSERT INTO {table} FORMAT CSV"
    data = "".join(f'"{number};"\n' for number in range(_MANY))

    def send(data: str) -> None:
        in_body = where == "in the body"
        reply = suite.plain.data(insert, data) if in_body else suite.plain.post(f"{insert}\n{data}")
        if reply.code is not None:
            raise Failure(reply.code, reply.text)

    # All or nothing: what is wrong stands at the very end.
    with pytest.raises(Failure) as caught:
        send(data + '"one","too many"\n')
    assert caught.value.code == 117
    assert suite.plain.rows(f"SELECT count() FROM {table}") == [[0]]
    send(data)
    found = suite.plain.rows(f"SELECT count(), sum(toUInt64(trimRight(s, ';'))), uniqExact(s) FROM {table}")
    assert found == [[_MANY, sum(range(_MANY)), _MANY]]


def test_an_insert_that_selects_may_stand_behind_with(suite: Suite, table: str) -> None:
    for client in (suite.plain, suite.native, suite.connect):
        client.rows(f"WITH 'INSERT INTO x VALUES' AS insert INSERT INTO {table} SELECT insert")
        client.rows(f"WITH c AS (SELECT 'c;' AS s) INSERT INTO {table} SELECT s FROM c SETTINGS max_threads = 1")
    assert _texts(suite, table) == 3 * ["INSERT INTO x VALUES"] + 3 * ["c;"]


def test_an_insert_that_selects_from_its_data_may_stand_behind_with(suite: Suite, table: str) -> None:
    select = "SELECT concat(t, x) FROM input('t String')"
    suite.plain.ask(f"WITH ';' AS x INSERT INTO {table} {select} FORMAT TSV\na'\n")
    assert suite.plain.data(f"WITH '!' AS x INSERT INTO {table} {select} FORMAT CSV", "b;\n").status == 200
    assert _texts(suite, table) == ["a';", "b;!"]


def test_the_rest_of_an_insert_may_stand_in_the_body(suite: Suite, table: str) -> None:
    for query, body in (
        (f"INSERT INTO {table}", "VALUES ('a;')"),
        (f"WITH 1 AS y INSERT INTO {table} (s)", "FORMAT TSV\nb;\n"),
        ("WITH 1 AS y", f"INSERT INTO {table} FORMAT TSV\nc;\n"),
        (f"INSERT INTO {table}", "SELECT 'd;'"),
        (f"INSERT INTO {table} FORMAT TSV e", "f\n"),
    ):
        reply = suite.plain.data(query, body)
        assert reply.status == 200, reply.text
    assert _texts(suite, table) == ["a;", "b;", "c;", "d;", "e", "f"]


@pytest.mark.parametrize("data", ["FORMAT TSV\nit's;\n", "VALUES ('a;'", "FORMAT RowBinary\n\x03';;"])
def test_the_data_of_an_insert_that_is_explained_is_not_looked_at(suite: Suite, table: str, data: str) -> None:
    for before in ("", "WITH 1 AS y "):
        assert "InsertQuery" in suite.plain.ask(f"EXPLAIN AST {before}INSERT INTO {table} {data}")
    assert _texts(suite, table) == []


@pytest.mark.parametrize(
    "sql",
    [
        "WITH 1 AS x SELECT x; INSERT INTO {table} VALUES ('a')",
        "EXPLAIN SELECT 1; INSERT INTO {table} VALUES ('a')",
        "INSERT INTO {table}; SELECT 1",
        "SELECT 1 AS $a$; INSERT INTO {table} SELECT 'a' AS $b$",
    ],
)
def test_two_statements_are_refused_whatever_the_first_is(suite: Suite, table: str, sql: str) -> None:
    reply = suite.plain.post(sql.replace("{table}", table))
    assert (reply.status, reply.code) == (400, 62)
    assert _texts(suite, table) == []
