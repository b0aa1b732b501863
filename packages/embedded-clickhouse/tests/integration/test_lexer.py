"""The tokens of statements, as this server sees them and as the engine behind it does.

The engine's function tokenizeQuery is the measure: whatever stands in quotes for one of the two and outside of them for
the other would be hidden from the checks that are made before the engine sees a statement.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickhouse_testkit.plain_http import Http
from embedded_clickhouse.lexer import tokenize

if TYPE_CHECKING:
    from embedded_clickhouse.testing import Server

_KINDS = {
    "BareWord": "word",
    "ErrorBackQuoteIsNotClosed": "name",
    "ErrorDoubleQuoteIsNotClosed": "name",
    "ErrorSingleQuoteIsNotClosed": "string",
    "ErrorWrongNumber": "number",
    "HereDoc": "string",
    "Number": "number",
    "QuotedIdentifier": "name",
    "StringLiteral": "string",
}
_NO_TOKENS = {"Whitespace", "Comment", "ErrorMultilineCommentIsNotClosed"}
# What means something to a lexer, alone or together, in an order that hypothesis makes up.
_PIECES = [
    *("$", "$a", "$a$", "$$", "$b$", "a$b", "a", "_", "x", "e", "p", "0", "1", "_1", "0x1F", "0b1", "1e5", ".", ".5"),
    *("'", "''", "\\", "\\'", '"', '""', "`", "``", "‘", "’", "“", "”", "x'", "b'", "(", ")", "[", "]", "{", "}"),
    *("-", "--", "/", "/*", "*/", "//", "*", "#", "# ", "#!", "\n", " ", "\t", "\r", "\v", "\x00", "\u00a0", "\u3000"),
    *("\u200b", "\u2028", "−", "é", "한", "😀", ";", ",", "+", "@", "::", "->", "|", "!", "=", "?", "%", "\\G", "~"),
    *("SELECT", "FORMAT", "INSERT INTO", "VALUES"),
]
_TEXTS = st.lists(st.sampled_from(_PIECES), max_size=14).map(lambda pieces: "".join(pieces).encode())
# A statement that begins with a dot is none in any case.
_STATEMENTS = st.one_of(_TEXTS, st.binary(max_size=20)).map(lambda text: b"a " + text)


def _split(kind: str, start: int, end: int) -> list[tuple[str, int, int]]:
    """Symbols by their bytes: which of them stand together is of no interest."""
    return [("symbol", byte, byte + 1) for byte in range(start, end)] if kind == "symbol" else [(kind, start, end)]


def _own(sql: bytes) -> list[tuple[str, int, int]]:
    return [piece for token in tokenize(sql) for piece in _split(token.kind, token.start, token.end)]


def _of_engine(http: Http, statements: list[bytes]) -> list[list[tuple[str, int, int]]]:
    listed = ", ".join(f"unhex('{statement.hex()}')" for statement in statements)
    sql = f"""
        SELECT arrayMap(token -> tuple(toString(token.type), token.begin, token.end), tokenizeQuery(statement))
        FROM (SELECT arrayJoin([{listed}]) AS statement)
        SETTINGS output_format_json_named_tuples_as_objects = 0, output_format_json_quote_64bit_integers = 0"""
    lines = http.ask(sql, default_format="JSONCompactEachRow", max_query_size="10000000").splitlines()
    rows = [json.loads(line)[0] for line in lines]
    return [
        [
            piece
            for kind, *edges in row
            if kind not in _NO_TOKENS
            for piece in _split(_KINDS.get(kind, "symbol"), *edges)
        ]
        for row in rows
    ]


def _up_to_open_quote(pieces: list[tuple[str, int, int]], end: int) -> list[tuple[str, int, int]]:
    """Without what the engine still looks at behind a quote that is not closed; it refuses such a statement."""
    for index, (kind, _, stop) in enumerate(pieces):
        if kind in {"string", "name"} and stop == end:
            return pieces[: index + 1]
    return pieces


def _check(http: Http, statements: list[bytes]) -> None:
    for sql, theirs in zip(statements, _of_engine(http, statements), strict=True):
        assert _up_to_open_quote(_own(sql), len(sql)) == _up_to_open_quote(theirs, len(sql)), sql


@given(statements=st.lists(_STATEMENTS, min_size=20, max_size=60))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_tokens_are_those_of_the_engine(server: Server, statements: list[bytes]) -> None:
    _check(Http(server), statements)


def test_each_character_is_space_or_not_as_for_the_engine(http_client: Http) -> None:
    # The engine looks at bytes: all first and second ones, and those third ones that spaces have.
    code_points = [*range(0x80, 0x3100), *range(0xF000, 0xF100), *range(0xFE00, 0xFFFF)]
    statements = [b"a" + chr(point).encode() + b"b" for point in code_points]
    for start in range(0, len(statements), 2000):
        _check(http_client, statements[start : start + 2000])


@pytest.mark.parametrize("closed", [True, False])
def test_a_tag_is_found_however_far_away_it_is(http_client: Http, closed: bool) -> None:
    filling = b"; $b$ '" * 20_000
    sql = b"a $tag$" + filling + (b"$tag$ c" if closed else b"$tags$ c")
    _check(http_client, [sql])
    assert (("string", 2, len(sql) - 2) in _own(sql)) is closed
