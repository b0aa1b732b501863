"""Splits SQL of several statements."""

from __future__ import annotations

from typing import NamedTuple

from maxy.clickhouse.lexer import Kind, tokenize


class Statement(NamedTuple):
    """One statement of several.

    :param text: the statement, with its comments, without the semicolon.
    :param start: where it begins in the SQL that it was taken from, counted from 0.
    """

    text: str
    start: int


def split(sql: str) -> list[Statement]:
    """Split SQL at its semicolons, leaving out parts that hold nothing but comments and white space.

    The data of an ``INSERT ... FORMAT`` goes to the end of the text, whatever it holds.

    :raises SqlError: at a quote or a comment without an end.
    """
    statements: list[Statement] = []
    start, is_statement, kind = 0, False, Kind.BLANK
    for kind, begin, end in tokenize(sql):
        if kind is Kind.SYMBOL and sql[begin] == ";":
            if is_statement:
                statements.append(_strip(sql, start, begin))
            start, is_statement = end, False
        elif kind is not Kind.BLANK:
            is_statement = True
    if is_statement:
        # White space at the end of data may be data.
        statements.append(_strip(sql, start, len(sql), keep_end=kind is Kind.DATA))
    return statements


def _strip(sql: str, start: int, end: int, *, keep_end: bool = False) -> Statement:
    text = sql[start:end].lstrip()
    return Statement(text if keep_end else text.rstrip(), end - len(text))
