from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy._parsing import as_bool, as_positive_int
from maxy.operators._identifiers import checked_table_name
from maxy.operators.clickhouse import split_statements


def test_statements_are_split_at_semicolons_only() -> None:
    sql = "SELECT 'a;b', \"c;d\", `e;f`; -- comment; with semicolon\nSELECT 2 /* ; */;\n"
    assert split_statements(sql) == [
        "SELECT 'a;b', \"c;d\", `e;f`",
        "-- comment; with semicolon\nSELECT 2 /* ; */",
    ]


def test_words_that_open_blocks_in_other_databases_do_not_join_statements() -> None:
    statements = [
        "CREATE TABLE IF NOT EXISTS t (begin UInt8, declare UInt8) ENGINE = Memory",
        "SELECT CASE WHEN 1 THEN 2 END AS begin",
        "CREATE FUNCTION f AS (x) -> if(x, 1, 2)",
        "DROP TABLE IF EXISTS t",
    ]
    assert split_statements(";".join(statements)) == statements


def test_escaped_quotes_do_not_end_a_string() -> None:
    assert split_statements(r"SELECT 'it\'s; fine'; SELECT 'it''s; fine'") == [
        r"SELECT 'it\'s; fine'",
        "SELECT 'it''s; fine'",
    ]


@pytest.mark.parametrize("sql", ["", " \n", "-- nothing", "/* nothing */", ";", " ; -- nothing\n;"])
def test_comments_and_semicolons_alone_are_no_statement(sql: str) -> None:
    assert split_statements(sql) == []


@given(st.lists(st.text(alphabet="ab; -/*", max_size=8), min_size=1, max_size=5))
def test_any_strings_come_through_whole(strings: list[str]) -> None:
    statements = [f"SELECT '{text}'" for text in strings]
    assert split_statements(";\n".join(statements)) == statements


@pytest.mark.parametrize("name", ["t", "db.t", "_x1", "DB.Table_2"])
def test_plain_table_names_pass(name: str) -> None:
    assert checked_table_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a;DROP TABLE b", "a.b.c", "`a`", "1a", "a.", "t--", "표"])
def test_other_table_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        checked_table_name(name)


def test_truth_values_are_read_as_rendered_templates_have_them() -> None:
    assert as_bool("True", "x") is True
    assert as_bool("false", "x") is False
    assert as_bool(True, "x") is True
    with pytest.raises(ValueError, match=r"allow_empty.*'maybe'"):
        as_bool("maybe", "allow_empty")


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", 0])
def test_counts_must_be_above_zero(value: int | str) -> None:
    assert as_positive_int("12", "expire") == 12
    with pytest.raises(ValueError, match="expire"):
        as_positive_int(value, "expire")
