"""Where ClickHouse's statements begin and end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.clickhouse.lexer import SqlError, locate
from maxy.clickhouse.statements import split

_ROOT = Path(__file__).resolve().parents[3]


def texts(sql: str) -> list[str]:
    return [statement.text for statement in split(sql)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'a;b', \"c;d\", `e;f`",
        r"SELECT 'C:\\'",
        r"SELECT replaceRegexpAll(path, '\\\\', '/')",
        r"SELECT 'it\'s; fine', 'it''s; fine', '\\\';'",
        r'SELECT 1 AS "a\";b", 2 AS "c"";d"',
        r"SELECT 1 AS `a\`;b`, 2 AS `c``;d`",
        "SELECT $$it's; fine$$, $sql$SELECT '; $$ $sql$",
        "SELECT price$ AS a$b$c, 1 AS a$b$d",
        "SELECT 1 -- it's a comment; with a semicolon\n + 1",
        "SELECT 1 # it's a comment; too\n + 1",
        "SELECT 1 #!it's a comment; too\n + 1",
        "SELECT /* it's; /* nested; */ still; */ 1",
        "SELECT '/*', 1 AS `--`, '-- ;'",
        "SELECT 'line\n; line'",
        "SELECT ‘it's; fine’",
        # Words that open blocks in other databases.
        "CREATE TABLE IF NOT EXISTS t (begin UInt8, declare UInt8) ENGINE = Memory",
        "SELECT CASE WHEN 1 THEN 2 END AS begin",
        "CREATE FUNCTION f AS (x) -> if(x, 1, 2)",
        "INSERT INTO t VALUES (1, 'a;b'), (2, 'c')",
        "INSERT INTO t FORMAT Values (1, 'a;b')",
        "INSERT INTO t SELECT 1 FORMAT Null",
        "INSERT INTO format SELECT 1 AS format",
        "SELECT 1 FORMAT JSONEachRow",
    ],
)
def test_a_statement_is_whole_between_others(statement: str) -> None:
    assert texts(f"SELECT 'b\\\\'; {statement};SELECT \"c\"") == ["SELECT 'b\\\\'", statement, 'SELECT "c"']


@pytest.mark.parametrize("sql", ["", " \n", "-- nothing", "/* nothing; */", ";", " ; -- nothing; it's\n;", "\ufeff"])
def test_comments_and_semicolons_alone_are_no_statement(sql: str) -> None:
    assert texts(sql) == []


@pytest.mark.parametrize(
    "data",
    [
        "CSV\n1;2\nit's;\n",
        "TabSeparated a;\t\n",
        'JSONEachRow {"a": "b;c\'"}\n',
        "CustomSeparated SETTINGS; not SQL any more",
    ],
)
@pytest.mark.parametrize("insert", ["INSERT INTO t", "insert into `a;b`.t (a, `format`) settings max_threads = 1"])
def test_data_of_a_format_goes_to_the_end_of_the_text_as_it_is(insert: str, data: str) -> None:
    statement = f"{insert} FORMAT {data}"
    assert texts(f"SELECT 1; {statement}") == ["SELECT 1", statement]


def test_a_format_without_data_ends_at_its_semicolon() -> None:
    assert texts("INSERT INTO t FORMAT CSV ; SELECT 1") == ["INSERT INTO t FORMAT CSV", "SELECT 1"]


@pytest.mark.parametrize(
    ("sql", "words", "place"),
    [
        ("SELECT 1;\n\n  SELECT 'a;\nb", "the quote ' is never closed", "line 3, column 10"),
        ("SELECT 'a\\'", "the quote ' is never closed", "line 1, column 8"),
        ("SELECT 'a''", "the quote ' is never closed", "line 1, column 8"),
        ('SELECT 1 AS "a', 'the quote " is never closed', "line 1, column 13"),
        ("SELECT 1 AS 표, `a", "the quote ` is never closed", "line 1, column 16"),
        ("SELECT 1\n/* a /* b */", "the comment /* is never closed", "line 2, column 1"),
    ],
)
def test_what_is_never_closed_is_named_with_its_place(sql: str, words: str, place: str) -> None:
    with pytest.raises(SqlError) as failed:
        split(sql)
    assert str(failed.value) == words
    assert locate(sql, failed.value.position) == place


def test_statements_know_where_they_begin() -> None:
    sql = " SELECT 1 ;\n-- why\nSELECT 2;;SELECT 3"
    assert [sql[start:].startswith(text) for text, start in split(sql)] == [True, True, True]
    assert [locate(sql, start) for _, start in split(sql)] == [
        "line 1, column 2",
        "line 2, column 1",
        "line 3, column 11",
    ]


def test_sql_files_of_the_package_that_are_no_templates_can_be_read() -> None:
    files = [file.read_text() for file in (_ROOT / "include" / "sql").rglob("*.sql")]
    plain = [text for text in files if not {"{{", "{%", "{#"} & {text[i : i + 2] for i in range(len(text))}]
    assert plain
    assert all(split(text) for text in plain)


@st.composite
def _quoted(draw: st.DrawFn) -> str:
    quote = draw(st.sampled_from("'\"`"))
    escaped = ""
    for character in draw(st.text("ab;'\"`\\$-/*#\n% ", max_size=8)):
        if character == quote:
            escaped += draw(st.sampled_from(["\\" + quote, quote + quote]))
        else:
            escaped += "\\\\" if character == "\\" else character
    return f"{quote}{escaped}{quote}"


_heredocs = st.builds(
    lambda tag, text: f"${tag}${text}${tag}$", st.sampled_from(["", "a", "_1"]), st.text("ab;'\"`\\-/*\n", max_size=8)
)
_line_comments = st.builds(
    lambda sign, text: f"{sign}{text}\n", st.sampled_from(["--", "# ", "#!", "//"]), st.text("a;'\"`\\$-/*", max_size=8)
)
_block_comments = st.recursive(
    st.text("a;'\"`\\$-\n", max_size=8).map(lambda text: f"/*{text}*/"),
    lambda inner: st.lists(inner, max_size=3).map(lambda comments: f"/* ; {' '.join(comments)} ' */"),
    max_leaves=4,
)
_comments = st.one_of(_line_comments, _block_comments)
_code = st.sampled_from(["a", "1", ",", "(", ")", "+", "a$b", "%", "::String", "1e5", "x.1", "FORMAT CSV"])
_statements = st.lists(st.one_of(_code, _quoted(), _heredocs, _comments), max_size=8).map(
    lambda pieces: " ".join(["SELECT", *pieces]).strip()
)
_separators = st.lists(_comments, max_size=2).map(lambda comments: ";".join(["", *comments, "\n"]))


@given(st.lists(_statements, max_size=5), st.data())
def test_statements_built_from_pieces_come_apart_as_they_were(statements: list[str], data: st.DataObject) -> None:
    # A comment to the end of the line needs its line's end.
    sql = "".join(f"{statement}\n{data.draw(_separators)}" for statement in statements)
    assert texts(sql) == statements
