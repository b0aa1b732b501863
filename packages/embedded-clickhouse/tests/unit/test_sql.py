"""The parts of a statement that the server itself must find."""

from __future__ import annotations

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.quoting import quote_identifier, quote_string
from embedded_clickhouse.sql import (
    creates_temporary,
    insert_from_file,
    parse_statement,
    selects_input,
    statement_keyword,
)


@pytest.mark.parametrize(
    ("sql", "keyword"),
    [
        ("select 1", "SELECT"),
        ("  /* select */ -- drop\n# a\nWITH 1 AS x SELECT x", "WITH"),
        ("// a\n/* /* nested */ */ #!b\nSELECT 1", "SELECT"),
        ("(SELECT 1) UNION ALL SELECT 2", "("),
        ("WITH 1 AS x INSERT INTO t SELECT x", "INSERT"),
        ("WITH a AS (SELECT 1), 2 AS insert INSERT INTO t VALUES", "INSERT"),
        ("WITH 1 AS insert SELECT insert", "WITH"),
        ("WITH (INSERT INTO t) AS x SELECT x", "WITH"),
        ("WITH 1 AS x SELECT x; INSERT INTO t VALUES (1)", "WITH"),
        ("EXPLAIN AST INSERT INTO t VALUES (1)", "EXPLAIN"),
        ("", ""),
        ("-- nothing", ""),
        ("/* open", ""),
    ],
)
def test_the_keyword_is_found_behind_comments(sql: str, keyword: str) -> None:
    assert statement_keyword(sql) == keyword


@pytest.mark.parametrize(
    ("sql", "rest", "fmt"),
    [
        (b"SELECT 1 FORMAT JSON", b"SELECT 1", "JSON"),
        (b"select 1\nformat\n/* which? */ CSV ;  ", b"select 1", "CSV"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1", b"SELECT 1  SETTINGS max_threads = 1", "JSON"),
        (b"SELECT {x:String}\n FORMAT Native", b"SELECT {x:String}", "Native"),
        (b"SELECT f(1) FORMAT Native", b"SELECT f(1)", "Native"),
        (b"SHOW TABLES FORMAT TSV", b"SHOW TABLES", "TSV"),
        (b"SELECT 1", b"SELECT 1", None),
        (b"SELECT 'x FORMAT JSON'", b"SELECT 'x FORMAT JSON'", None),
        (b"SELECT 1 AS format FROM t", b"SELECT 1 AS format FROM t", None),
        (b"SELECT format FROM t", b"SELECT format FROM t", None),
        (b"SELECT a, format x", b"SELECT a, format x", None),
        (b"SELECT (SELECT 1 FORMAT JSON)", b"SELECT (SELECT 1 FORMAT JSON)", None),
        (b"SELECT 1 -- FORMAT JSON", b"SELECT 1 -- FORMAT JSON", None),
        (b"SELECT '\xff' FORMAT RowBinary", b"SELECT '\xff'", "RowBinary"),
        (b"SELECT 1 AS $y$ FORMAT JSON", b"SELECT 1 AS $y$", "JSON"),
        (b"SELECT {$x$:Int32} AS v FORMAT Native", b"SELECT {$x$:Int32} AS v", "Native"),
        (b"SELECT a$b$c, $a$ FORMAT CSV SETTINGS b = 1", b"SELECT a$b$c, $a$  SETTINGS b = 1", "CSV"),
        (b"SELECT $a$ FORMAT TSV $a$", b"SELECT $a$ FORMAT TSV $a$", None),
        (b"SELECT $a$ FORMAT TSV $a$ FORMAT CSV", b"SELECT $a$ FORMAT TSV $a$", "CSV"),
        ("SELECT 1\u00a0FORMAT\u3000CSV".encode(), "SELECT 1\u00a0".encode(), "CSV"),
        ("SELECT ‘ FORMAT CSV’".encode(), "SELECT ‘ FORMAT CSV’".encode(), None),
        (b"SELECT 1 // FORMAT JSON\nFORMAT CSV", b"SELECT 1 // FORMAT JSON", "CSV"),
        (b"SELECT 1 /* /* */ FORMAT JSON */ FORMAT CSV", b"SELECT 1 /* /* */ FORMAT JSON */", "CSV"),
    ],
)
def test_format_clause_is_cut_off(sql: bytes, rest: bytes, fmt: str | None) -> None:
    statement = parse_statement(sql)
    assert (statement.sql, statement.fmt, statement.insert) == (rest, fmt, None)


@pytest.mark.parametrize("sql", [b"SELECT 1;", b"SELECT 1 ;; ", b"SELECT 1; -- done", b"SELECT 1;/* ; */"])
def test_semicolon_at_the_end_is_cut_off(sql: bytes) -> None:
    assert parse_statement(sql).sql == b"SELECT 1"


@pytest.mark.parametrize(
    "sql",
    [
        *(b"SELECT ';'", b"SELECT `;`", b'SELECT ";"', b"SELECT $$;$$", b"SELECT $a$;$a$", b"SELECT 1 /* /* */ ; */"),
        *(b"SELECT a$, $a$;$a$", "SELECT ‘;’ AS “;”".encode()),
    ],
)
def test_semicolon_inside_quotes_is_none(sql: bytes) -> None:
    assert parse_statement(sql).sql == sql


@pytest.mark.parametrize(
    "sql",
    [
        *(b"SELECT 1; SELECT 2", b"DROP TABLE t;x", b"SELECT 'a\\'; ' ;SELECT 1", b"SET a = 1;;b"),
        *(b"SELECT $a$; SELECT $b$", b"SELECT 1 AS a$; SELECT $b$ $b$", b"INSERT INTO t; SELECT 1"),
        *(b"WITH 1 AS x SELECT x; INSERT INTO t VALUES (1)", b"EXPLAIN SELECT 1; INSERT INTO t VALUES (1)"),
    ],
)
def test_several_statements_are_refused(sql: bytes) -> None:
    with pytest.raises(EngineError, match="Multi-statements are not allowed") as caught:
        parse_statement(sql)
    assert caught.value.code == 62


@pytest.mark.parametrize("sql", [b"", b"  \n", b"-- x", b"/* x */"])
def test_nothing_is_refused(sql: bytes) -> None:
    with pytest.raises(EngineError, match="Empty query"):
        parse_statement(sql)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (b"SELECT 1 INTO OUTFILE '/tmp/x'", 358),
        (b"SELECT 42 AS $y$ INTO OUTFILE '/tmp/x.csv' FORMAT CSV", 358),
        (b"SELECT 42 AS y /* $y$ */ INTO OUTFILE $$/tmp/x$$ FORMAT CSV", 358),
        (b"WITH 1 AS insert SELECT insert INTO OUTFILE '/tmp/x'", 358),
        (b"WITH 1 AS insert SELECT insert INTO OUTFILE '/tmp/x' FORMAT CSV", 358),
        (b"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 48),
        (b"WITH 1 AS y INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 48),
        (b"WITH 1 AS $y$ INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 48),
        (b"INSERT INTO t ($y$) FROM /**/ INFILE '/etc/passwd' FORMAT CSV", 48),
    ],
)
def test_files_of_the_server_are_refused(sql: bytes, code: int) -> None:
    with pytest.raises(EngineError) as caught:
        parse_statement(sql)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("sql", "head", "fmt", "data"),
    [
        (b"INSERT INTO t VALUES (1, ';'), (2)", b"INSERT INTO t", "Values", b" (1, ';'), (2)"),
        (b"insert into t(a) values", b"insert into t(a)", "Values", b""),
        (b"INSERT INTO t FORMAT CSV\n1;2\n", b"INSERT INTO t", "CSV", b"1;2\n"),
        (b"INSERT INTO t FORMAT CSV \r\n\n1\n", b"INSERT INTO t", "CSV", b"\n1\n"),
        (b"INSERT INTO t FORMAT Native\n\x00'\xff", b"INSERT INTO t", "Native", b"\x00'\xff"),
        (b'INSERT INTO t FORMAT JSONEachRow {"a":1}', b"INSERT INTO t", "JSONEachRow", b'{"a":1}'),
        (b"INSERT INTO t FORMAT Native;", b"INSERT INTO t", "Native", b""),
        (b"INSERT INTO t", b"INSERT INTO t", None, b""),
        (b"INSERT INTO t;", b"INSERT INTO t", None, b""),
        (b"INSERT INTO k ($y$) FORMAT TSV\n1\n", b"INSERT INTO k ($y$)", "TSV", b"1\n"),
        (b"INSERT INTO k ($y$) VALUES ('$a$')", b"INSERT INTO k ($y$)", "Values", b" ('$a$')"),
        (b"INSERT INTO t FORMAT /* which? */ CSV\n1\n", b"INSERT INTO t", "CSV", b"1\n"),
        (
            b"INSERT INTO t SETTINGS a = 1, b = 'VALUES' FORMAT TSV\n1",
            b"INSERT INTO t SETTINGS a = 1, b = 'VALUES'",
            "TSV",
            b"1",
        ),
        (b"INSERT INTO t SETTINGS a=[1, 2] VALUES (1)", b"INSERT INTO t SETTINGS a=[1, 2]", "Values", b" (1)"),
    ],
)
def test_insert_is_split_from_its_data(sql: bytes, head: bytes, fmt: str | None, data: bytes) -> None:
    insert = parse_statement(sql).insert
    assert insert is not None
    assert (insert.sql, insert.fmt, insert.data) == (head, fmt, data)


@pytest.mark.parametrize(
    ("sql", "target", "columns"),
    [
        (b"INSERT INTO t VALUES", b"t", None),
        (b"INSERT INTO k ($y$) VALUES", b"k", b"($y$)"),
        (b"INSERT INTO $db$.$t$ ($a, b$) VALUES", b"$db$.$t$", b"($a, b$)"),
        (b"INSERT INTO TABLE db . `t ``1` (a, `b)`, c.d) VALUES", b"db . `t ``1`", b"(a, `b)`, c.d)"),
        (b'INSERT INTO "d"."t"(* EXCEPT(a)) FORMAT CSV\n', b'"d"."t"', b"(* EXCEPT(a))"),
        (b"INSERT INTO {db:Identifier}.{t:Identifier} (a) VALUES", b"{db:Identifier}.{t:Identifier}", b"(a)"),
        (b"INSERT INTO FUNCTION remote('a', (b)) (x) VALUES", b"remote('a', (b))", b"(x)"),
    ],
)
def test_target_and_columns_are_kept_as_written(sql: bytes, target: bytes, columns: bytes | None) -> None:
    insert = parse_statement(sql).insert
    assert insert is not None
    assert (insert.target, insert.columns) == (target, columns)
    assert insert.is_function == (b"FUNCTION" in sql)


@pytest.mark.parametrize(
    "sql",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x",
        b"INSERT INTO t (SELECT 1)",
        b"INSERT INTO t (a) SETTINGS max_threads = 1 SELECT 1",
        b"INSERT INTO t ((SELECT 1) UNION ALL (SELECT 2))",
        b"INSERT INTO t SELECT input FROM input",
        b"INSERT INTO t FROM numbers(1) SELECT number",
        b"WITH 1 AS x INSERT INTO t SELECT x",
        b"WITH 1 AS x, 'INSERT INTO t VALUES (1)' AS y SELECT x",
        b"WITH insert AS (SELECT 1) SELECT * FROM insert",
        b"INSERT INTO t SELECT 'FROM input(''a Int8'')'",
    ],
)
def test_insert_from_a_query_has_no_data(sql: bytes) -> None:
    statement = parse_statement(sql)
    assert (statement.insert, statement.sql) == (None, sql)


@pytest.mark.parametrize(
    ("select", "structure"),
    [
        (b"SELECT a FROM input('a Int8')", b"'a Int8'"),
        (b"WITH 1 AS x SELECT a + x, format FROM input ( 'a Int8, b Tuple(c String)' ) WHERE a IN (1, 2)", None),
        (b"SELECT x FROM t AS y, input('x Int8') WHERE 1", None),
        (b"SELECT x FROM (SELECT x FROM t JOIN input('x Enum8(''a'' = 1)') USING x) SETTINGS max_threads = 1", None),
    ],
)
@pytest.mark.parametrize("data", [b"1,'", b"x FORMAT TSV; \xff'("])
def test_an_insert_that_selects_from_its_data_is_split_from_it(
    select: bytes, structure: bytes | None, data: bytes
) -> None:
    sql = b"INSERT INTO t (a) " + select
    insert = parse_statement(sql + b" FORMAT CSV\n" + data).insert
    assert insert is not None
    assert (insert.sql, insert.fmt, insert.data, insert.target) == (sql, "CSV", data, b"t")
    assert insert.structure == structure or structure is None
    assert selects_input(insert.sql)
    without_format = parse_statement(sql + b";").insert
    assert without_format is not None
    assert (without_format.sql, without_format.fmt) == (sql, None)


@pytest.mark.parametrize(
    ("before", "select"),
    [
        (b"WITH 1 AS x ", b"SELECT a + x FROM input('a Int8')"),
        (b"WITH c AS (SELECT a FROM input('a Int8')) ", b"SELECT a FROM c"),
        (b"", b"WITH c AS (SELECT a FROM input('a Int8')) SELECT a FROM c"),
        (b"", b"FROM input('a Int8') SELECT a"),
    ],
)
def test_an_insert_may_select_from_its_data_in_other_words(before: bytes, select: bytes) -> None:
    sql = before + b"INSERT INTO t " + select
    insert = parse_statement(sql + b" FORMAT CSV\n1;'").insert
    assert insert is not None
    assert (insert.sql, insert.fmt, insert.data, insert.structure) == (sql, "CSV", b"1;'", b"'a Int8'")
    assert selects_input(sql)
    file = b"file('/spool/x', 'CSV', 'a Int8', 'none')"
    assert insert_from_file(sql, "/spool/x", "CSV") == sql.replace(b"input('a Int8')", file)


_DATA = [b"1;'\n", b"INSERT INTO t VALUES (", b"$a$ $b$", b" first\n last  ", b"\x00\xff;/*", b""]
_BEFORE_INSERT = [
    b"WITH 1 AS y",
    b"/* INSERT INTO x */ WITH 1 AS y -- INSERT INTO z VALUES\n",
    b"with a as (select 1), b(x) as materialized (select * from (select ((2)))), 3 as c",
    b"WITH 1 AS insert",
    b"WITH insert AS (SELECT 1)",
    b"WITH 1 AS a, 2 AS insert, insert AS into, 4 AS select",
    b"WITH 'INSERT INTO u VALUES (1)' AS y",
    b"WITH $q$ INSERT INTO u FORMAT CSV $q$ AS y",
    b"WITH 1 AS `INSERT INTO u`",
    b"WITH (SELECT insert FROM u FORMAT) AS y",
    b"WITH [(1, 'INSERT')] AS y, {p:Array(String)} AS z",
    b"WITH x -> (x, 1) AS f, 1 AS $y$",
    b"WITH CASE WHEN insert THEN 1 ELSE insert END AS insert",
]


@pytest.mark.parametrize("before", _BEFORE_INSERT)
@pytest.mark.parametrize("data", _DATA)
def test_an_insert_behind_with_is_split_from_its_data(before: bytes, data: bytes) -> None:
    for target, columns in ((b"t", None), (b"db.`t u`", b"(a, b$c$)"), (b"{t:Identifier}", b"(a)")):
        for settings in (b"", b" SETTINGS max_threads = 1, a = 'FORMAT'"):
            head = before + b" INSERT INTO " + target + (columns or b"") + settings
            for clause, fmt in ((b" FORMAT TSV\n", "TSV"), (b" VALUES ", "Values"), (b" format /**/ CSV\r\n", "CSV")):
                statement = parse_statement(head + clause + data)
                insert = statement.insert
                assert insert is not None
                space = b" " if fmt == "Values" else b""
                assert (insert.sql, insert.fmt, insert.data) == (head, fmt, space + data)
                assert (statement.keyword, insert.target, insert.columns) == ("INSERT", target, columns)
            # Blocks or a body follow.
            bare = parse_statement(head + b" ; ").insert
            assert bare is not None
            assert (bare.sql, bare.fmt, bare.data) == (head, None, b"")


@pytest.mark.parametrize("before", _BEFORE_INSERT)
def test_the_file_stands_in_front_of_the_settings_of_the_insert(before: bytes) -> None:
    head = before + b", 5 AS settings INSERT INTO settings (a) "
    source = b" FROM INFILE '/x' COMPRESSION 'none' "
    settings = b"SETTINGS max_threads = 1"
    assert insert_from_file(head + settings, "/x", "CSV") == head + source + settings + b" FORMAT CSV"
    assert insert_from_file(head, "/x", "CSV") == head + source + b" FORMAT CSV"


@pytest.mark.parametrize(
    ("sql", "rest"),
    [
        (b"EXPLAIN AST INSERT INTO t FORMAT CSV\n1;'", b"EXPLAIN AST INSERT INTO t FORMAT CSV"),
        (b"EXPLAIN SYNTAX oneline = 1 INSERT INTO t VALUES (1);", b"EXPLAIN SYNTAX oneline = 1 INSERT INTO t VALUES"),
        (b"EXPLAIN AST WITH 1 AS y INSERT INTO t VALUES ';", b"EXPLAIN AST WITH 1 AS y INSERT INTO t VALUES"),
        (b"EXPLAIN AST INSERT INTO t FORMAT CSV;", b"EXPLAIN AST INSERT INTO t FORMAT CSV"),
        (b"EXPLAIN AST INSERT INTO t;", b"EXPLAIN AST INSERT INTO t"),
        (
            b"EXPLAIN AST INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1;",
            b"EXPLAIN AST INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV",
        ),
    ],
)
def test_an_insert_that_is_explained_takes_no_data(sql: bytes, rest: bytes) -> None:
    statement = parse_statement(sql)
    assert (statement.sql, statement.keyword, statement.fmt, statement.insert) == (rest, "EXPLAIN", None, None)


def test_the_format_behind_an_explained_query_is_that_of_the_answer() -> None:
    for sql in (
        b"EXPLAIN AST SELECT 1",
        b"EXPLAIN AST INSERT INTO t SELECT 1",
        b"EXPLAIN AST CREATE TABLE insert (a Int8)",
    ):
        statement = parse_statement(sql + b" FORMAT JSON")
        assert (statement.sql, statement.fmt, statement.insert) == (sql, "JSON", None)


def test_input_becomes_the_file_that_has_the_data() -> None:
    sql = b"INSERT INTO t SELECT a FROM input('a Int8') AS i, (SELECT 'input(1)') SETTINGS max_threads = 1"
    assert insert_from_file(sql, "/spool/it's", "CSV") == (
        b"INSERT INTO t SELECT a FROM file('/spool/it\\'s', 'CSV', 'a Int8', 'none') AS i, (SELECT 'input(1)')"
        b" SETTINGS max_threads = 1"
    )


@pytest.mark.parametrize(
    "sql",
    [
        b"INSERT INTO t (SELECT a FROM input('a Int8')) FORMAT CSV\n1",
        b"WITH 1 AS x INSERT INTO t (SELECT a FROM input('a Int8')) FORMAT CSV\n1",
    ],
)
def test_data_that_nobody_would_read_is_refused(sql: bytes) -> None:
    with pytest.raises(EngineError, match="nothing around") as caught:
        parse_statement(sql)
    assert caught.value.code == 48


def test_input_needs_its_structure() -> None:
    with pytest.raises(EngineError, match="requires exactly 1 argument: structure") as caught:
        parse_statement(b"INSERT INTO t SELECT a FROM input() FORMAT CSV\n1")
    assert caught.value.code == 42


def test_kill_query_means_the_id_that_the_client_gave() -> None:
    statement = parse_statement(b"KILL QUERY WHERE query_id = 'query_id' SYNC FORMAT TSV")
    assert statement.fmt == "TSV"
    assert statement.sql == (
        b"KILL QUERY WHERE if(Settings['log_comment'] = '', query_id, Settings['log_comment']) = 'query_id' SYNC"
    )


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"CREATE TEMPORARY TABLE t (a Int8)", True),
        (b"/* a */ create or replace\ntemporary view v AS SELECT 1", True),
        (b"REPLACE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE TABLE temporary (a Int8)", False),
        (b"CREATE TABLE t (a Int8) COMMENT 'CREATE TEMPORARY TABLE'", False),
        (b"DROP TEMPORARY TABLE t", False),
        (b"SELECT 1", False),
        (b"CREATE", False),
        (b"", False),
    ],
)
def test_what_a_session_is_needed_for(sql: bytes, expected: bool) -> None:
    assert creates_temporary(sql) is expected


@given(st.text(alphabet=string.printable + "'\\`\"한글😀"))
def test_a_quoted_text_is_one_token(text: str) -> None:
    for quoted in (quote_string(text), quote_identifier(text)):
        sql = f"SELECT {quoted}".encode()
        assert parse_statement(sql + b" FORMAT CSV;").sql == sql


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(sql: bytes) -> None:
    with contextlib.suppress(EngineError):
        assert parse_statement(sql).keyword


@given(st.sampled_from([b"", *_BEFORE_INSERT]), st.binary())
def test_data_of_an_insert_is_kept_byte_for_byte(before: bytes, data: bytes) -> None:
    insert = parse_statement(before + b" INSERT INTO t FORMAT RowBinary\n" + data).insert
    assert insert is not None
    assert insert.data == data


@pytest.mark.parametrize(
    ("text", "code", "name", "message"),
    [
        ("Code: 60. DB::Exception: No (such) table. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", "No (such) table."),
        (
            "Code: 27. DB::Exception: Bad: (at row 1)\n: more. (CANNOT_PARSE) (version 26.9.2.1)",
            27,
            "CANNOT_PARSE",
            "Bad: (at row 1)\n: more.",
        ),
        (
            "Code: 73. DB::Exception: Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format Nope."
            " (UNKNOWN_FORMAT) (version 26.9.2.1). (UNKNOWN_FORMAT) (version 26.9.2.1 (official build))."
            " (UNKNOWN_FORMAT)",
            73,
            "UNKNOWN_FORMAT",
            "Unknown format Nope.",
        ),
        (
            "Code: 6. DB::Exception: Code: 6. DB::Exception: Bad (X) text. (CANNOT_PARSE_TEXT) (version 26.9.2.1):"
            " While executing Expression. (CANNOT_PARSE_TEXT)",
            6,
            "CANNOT_PARSE_TEXT",
            "Bad (X) text.: While executing Expression.",
        ),
        # Another error in it is part of what happened.
        (
            "Code: 279. DB::Exception: Code: 210. DB::Exception: No. (NETWORK_ERROR). (ALL_CONNECTION_TRIES_FAILED)",
            279,
            "ALL_CONNECTION_TRIES_FAILED",
            "Code: 210. DB::Exception: No. (NETWORK_ERROR).",
        ),
        ("it broke", 1002, "UNKNOWN_EXCEPTION", "it broke"),
        ("", 1002, "UNKNOWN_EXCEPTION", "The engine failed without saying why."),
    ],
)
def test_errors_are_read_from_the_engines_text(text: str, code: int, name: str, message: str) -> None:
    error = EngineError.parse(text)
    assert (error.code, error.name, error.message) == (code, name, message)
