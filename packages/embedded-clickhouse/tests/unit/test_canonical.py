"""Tokens, calls and constants of statements in the engine's own spelling."""

from __future__ import annotations

import pytest

from embedded_clickhouse.canonical import Kind, calls, constant, parameter_of, tokenize


def test_quotes_and_escapes_are_gone() -> None:
    tokens = tokenize(r"SELECT 'it\'s \\ \n \x41', `a\`b/c`, 1.5e3 || x_1, '' FROM t")
    assert [(token.kind.value, token.text) for token in tokens] == [
        *(("word", "SELECT"), ("string", "it's \\ \n A"), ("symbol", ","), ("name", "a`b/c"), ("symbol", ",")),
        *(("number", "1.5e3"), ("symbol", "||"), ("word", "x_1"), ("symbol", ","), ("string", ""), ("word", "FROM")),
        ("word", "t"),
    ]


def test_calls_know_where_they_stand() -> None:
    found = list(calls(tokenize("CREATE TABLE t ENGINE = File(CSV, 'a') AS SELECT `f`(g(1, h(x)), ')') FROM i(')')")))
    assert [(call.name, call.parents) for call in found] == [
        *(("file", ()), ("f", ()), ("g", ("f",)), ("h", ("f", "g")), ("i", ())),
    ]
    assert found[0].before == (Kind.SYMBOL, "=")
    assert [[token.text for token in argument] for argument in found[1].arguments] == [
        ["g", "(", "1", ",", "h", "(", "x", ")", ")"],
        [")"],
    ]


def test_a_call_without_arguments_and_one_without_an_end() -> None:
    assert [call.arguments for call in calls(tokenize("f()"))] == [[]]
    assert [call.name for call in calls(tokenize("f(g('a', "))] == ["f", "g"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("'a b'", "a b"), ("path = 'x'", "x"), ("{p:String}", "c\td"), ("{absent:String}", None), ("a", None)),
        *(("`a`", None), ("'a' || 'b'", None), ("concat('a', 'b')", None), ("5", None), ("", None), ("('a')", None)),
        ("{p:Array(String)}", "c\td"),
    ],
)
def test_only_literals_and_parameters_are_constants(argument: str, value: str | None) -> None:
    assert constant(tokenize(argument), {"p": "c\\td"}) == value


def test_a_bare_name_is_one_where_it_stands_for_itself() -> None:
    assert [constant(tokenize(text), {}, may_be_name=True) for text in ("CSV", "`a b`", "f(x)")] == ["CSV", "a b", None]


def test_parameters_are_told_from_maps() -> None:
    assert [parameter_of(tokenize(text)) for text in ("{p:String}", "{'a':1}x", "[p]", "{p}")] == [
        "p",
        None,
        None,
        None,
    ]
