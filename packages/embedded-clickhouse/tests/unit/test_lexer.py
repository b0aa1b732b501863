"""Where the tokens of a statement begin and end. An integration test asks the engine for its own."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded_clickhouse.lexer import tokenize


def _pieces(sql: str) -> list[tuple[str, str]]:
    """Kinds and texts of the tokens. Bytes that are no text by themselves become escapes."""
    encoded = sql.encode()
    return [
        (token.kind, encoded[token.start : token.end].decode(errors="backslashreplace")) for token in tokenize(encoded)
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "$$;$$",
        "$a$ ; $a$",
        "$a$ $b$ ; $a$",
        "$a$b$a$",
        "$1$ FORMAT $1$",
        "$a$ $ab$ $a$",
        "$_x9$ it's $x_9$ $_x9$",
        "$$ $a$ $$",
        "$a$ /* $a$",
        "$a$\n-- $a$",
        "$$한$글$$",
    ],
)
def test_a_heredoc_is_one_string(sql: str) -> None:
    assert _pieces(sql) == [("string", sql)]
    assert _pieces(f"x {sql} y") == [("word", "x"), ("string", sql), ("word", "y")]


@pytest.mark.parametrize(
    "sql", ["$y$", "$y$z", "$a$a$", "$a", "$1", "a$", "a$$b", "a$b$c", "x$a$", "_$$", "$y$$", "$a$$b$", "$ab$a$"]
)
def test_dollar_signs_without_a_closing_tag_are_part_of_a_word(sql: str) -> None:
    assert _pieces(sql) == [("word", sql)]
    assert _pieces(f"SELECT 1 AS {sql} FORMAT CSV")[3:] == [("word", sql), ("word", "FORMAT"), ("word", "CSV")]


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        # A tag in a word, in quotes or in a comment is none, neither as an opening one ...
        ("x$a$ $a$", [("word", "x$a$"), ("word", "$a$")]),
        ("'$a$' $a$", [("string", "'$a$'"), ("word", "$a$")]),
        ('"$a$" `$a$` $a$', [("name", '"$a$"'), ("name", "`$a$`"), ("word", "$a$")]),
        ("/* $a$ */ ; $a$", [("symbol", ";"), ("word", "$a$")]),
        ("-- $a$\n; $a$", [("symbol", ";"), ("word", "$a$")]),
        # ... but it closes one that is open.
        ("$a$ '$a$ '", [("string", "$a$ '$a$"), ("string", "'")]),
        ("$a$ /* $a$ */", [("string", "$a$ /* $a$"), ("symbol", "*"), ("symbol", "/")]),
        ("$a$ x$a$b", [("string", "$a$ x$a$"), ("word", "b")]),
        # Of several that are half open, none hides another.
        ("$a$ $b$ ; $b$ x", [("word", "$a$"), ("string", "$b$ ; $b$"), ("word", "x")]),
        ("$a$ $b$ $c$", [("word", "$a$"), ("word", "$b$"), ("word", "$c$")]),
        ("$ab$ $a$ $abc$", [("word", "$ab$"), ("word", "$a$"), ("word", "$abc$")]),
        ("$a$ $b$ $a$ $b$", [("string", "$a$ $b$ $a$"), ("word", "$b$")]),
        # Tags are of ASCII letters, digits and underscores.
        ("$é$", [("symbol", text) for text in ("$", r"\xc3", r"\xa9", "$")]),
        ("$a-$ $a-$", [("word", "$a"), ("symbol", "-"), ("symbol", "$")] * 2),
        ("$a b$", [("word", "$a"), ("word", "b$")]),
        ("$ $", [("symbol", "$"), ("symbol", "$")]),
        ("$$$", [("symbol", "$")] * 3),
        ("$$a", [("symbol", "$"), ("word", "$a")]),
        ("1$a$ ; $a$", [("number", "1"), ("string", "$a$ ; $a$")]),
        ("1$a", [("number", "1"), ("word", "$a")]),
    ],
)
def test_what_a_dollar_sign_means_depends_on_where_it_stands(sql: str, pieces: list[tuple[str, str]]) -> None:
    assert _pieces(sql) == pieces


@pytest.mark.parametrize(
    "space",
    [
        " ",
        "\t\r\n\f\v",
        "/* ; */",
        "/* /* ; */ ; */",
        "/**/",
        "-- ;\n",
        "--\n",
        "// ;\n",
        "# ;\n",
        "#!;\n",
        "\u00a0\u3000\u200b\ufeff",
        "/* ' */",
        "-- '\n",
    ],
)
def test_space_and_comments_are_no_tokens(space: str) -> None:
    assert _pieces(f"{space}SELECT{space}1{space}") == [("word", "SELECT"), ("number", "1")]


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        ("a - -b", [("word", "a"), ("symbol", "-"), ("symbol", "-"), ("word", "b")]),
        ("#\t'", [("symbol", "#"), ("string", "'")]),
        ("#'", [("symbol", "#"), ("string", "'")]),
        ("/ * ' */", [("symbol", "/"), ("symbol", "*"), ("string", "' */")]),
        ("/* */ */", [("symbol", "*"), ("symbol", "/")]),
        ("/* /* */ ;", []),
        ("'--' /*'*/ b", [("string", "'--'"), ("word", "b")]),
    ],
)
def test_what_only_looks_like_a_comment(sql: str, pieces: list[tuple[str, str]]) -> None:
    assert _pieces(sql) == pieces


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("string", r"'it\'s; \\'"),
        ("string", "'it''s;'"),
        ("string", "‘it's;’"),
        ("string", "x'4A'"),
        ("string", "B'01'"),
        ("name", r"`a\`;`"),
        ("name", "`a``;`"),
        ("name", '"a"";"'),
        ("name", "“a;”"),
        ("number", "1_000.5e-3"),
        ("number", ".5"),
        ("number", "0x1Fp-3"),
        ("word", "1abc"),
        ("word", "1e5x"),
    ],
)
def test_a_literal_is_one_token(kind: str, sql: str) -> None:
    assert _pieces(f"f({sql})") == [("word", "f"), ("symbol", "("), (kind, sql), ("symbol", ")")]


@pytest.mark.parametrize("opening", ["'", '"', "`", "‘abc", "“abc", "x'4A", "x'no;", "b'012"])
def test_what_is_not_closed_goes_on_to_the_end(opening: str) -> None:
    sql = f"{opening} ; FORMAT CSV"
    assert [text for _, text in _pieces(sql)] == [sql]


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        ("t.1.2", ["t", ".", "1", ".", "2"]),
        ("t.1e5", ["t", ".", "1e5"]),
        ("(1).5", ["(", "1", ")", ".", "5"]),
        ("'x'.5", ["'x'", ".5"]),
        ("db.1table", ["db", ".", "1table"]),
    ],
)
def test_a_dot_may_be_a_names_or_a_numbers(sql: str, texts: list[str]) -> None:
    assert [text for _, text in _pieces(sql)] == texts


@given(st.binary())
def test_tokens_lie_one_behind_the_other(sql: bytes) -> None:
    end = 0
    for token in tokenize(sql):
        assert end <= token.start < token.end <= len(sql)
        end = token.end


@pytest.mark.parametrize(
    "piece", [b"$%d$ ", b"$a$b%d$", b"/* %d", b"'%d\\'", b"$%d$a$ ", b"1.%d.", b"x'%d ", b"a%d$$ "], ids=repr
)
def test_time_grows_with_the_length_alone(piece: bytes) -> None:
    def seconds(count: int) -> float:
        sql = b"".join(piece % number for number in range(count))
        started = time.process_time()
        for _ in tokenize(sql):
            pass
        return time.process_time() - started

    # Sixteen times the text: were each piece compared with every other, it would be 256 times the work.
    short = min(seconds(2000) for _ in range(3))
    assert seconds(32_000) < 80 * short + 0.05
