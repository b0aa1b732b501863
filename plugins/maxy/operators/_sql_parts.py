"""Reads the ``sql`` of an operator: its files and parts, the statements in them, and their values."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from airflow.sdk.exceptions import AirflowFailException
from clickhouse_driver.errors import ServerException  # type: ignore[import-untyped, unused-ignore]

from maxy.clickhouse.lexer import SqlError, locate
from maxy.clickhouse.literals import UnquotableError
from maxy.clickhouse.parameters import fill, placeholders, quote
from maxy.clickhouse.statements import split

# What ClickHouse says of a text where a number, a list or a truth value should be: ILLEGAL_TYPE_OF_ARGUMENT,
# TYPE_MISMATCH, ILLEGAL_TYPE_OF_COLUMN_FOR_FILTER, CANNOT_CONVERT_TYPE, NO_COMMON_TYPE, INVALID_LIMIT_EXPRESSION.
_WRONG_TYPE_ERRORS = frozenset({43, 53, 59, 70, 386, 440})
# How much of such a text is shown, and how long one may be that is looked at.
_SHOWN_CHARACTERS = 60
_LONGEST_LOOKED_AT = 10_000


class FilledStatement(NamedTuple):
    """A statement as it is sent.

    :param text: the statement with its values in it.
    :param place: where it comes from, for logs and errors.
    :param source: the statement as it was written.
    :param parameters: the values that may be in it.
    """

    text: str
    place: str
    source: str
    parameters: Mapping[str, Any]


def file_name(sql: object) -> str | None:
    """Return the name of a file, if ``sql`` is one."""
    return sql if isinstance(sql, str) and sql.strip().lower().endswith(".sql") else None


def part_names(sql: object) -> list[str]:
    """Return what the elements of a list are called in messages: by their file or their place."""
    if isinstance(sql, str) or not isinstance(sql, Sequence):
        return []
    return [file_name(part) or f"sql[{place}]" for place, part in enumerate(sql)]


def read_parts(parts: Sequence[tuple[str, Any]], parameters: Mapping[str, Any]) -> list[FilledStatement]:
    """Split SQL into its statements and fill them.

    :param parts: names, for messages, and texts.
    :raises AirflowFailException: naming the place, for what no other try would find better.
    """
    quoted = _quoted(parameters)
    return [statement for name, sql in parts for statement in _read_part(name, sql, parameters, quoted)]


def read_statement(statement: str, place: str, parameters: Mapping[str, Any]) -> FilledStatement:
    """Fill one statement.

    :raises AirflowFailException: naming the place.
    """
    quoted = _quoted(parameters, f"{place}: ")
    try:
        return FilledStatement(fill(statement, quoted), place, statement, parameters)
    except SqlError as error:
        raise AirflowFailException(f"{place}, {locate(statement, error.position)}: {error}") from error


def advice(error: Exception, statement: FilledStatement) -> str:
    """Return what may be wrong with a statement's values where ClickHouse says that a type is; else nothing."""
    if not isinstance(error, ServerException) or error.code not in _WRONG_TYPE_ERRORS:
        return ""
    texts = [
        f"{name} is the text {value[:_SHOWN_CHARACTERS]!r}"
        for name in sorted(placeholders(statement.source))
        if _reads_like_another_type(value := statement.parameters.get(name))
    ]
    if not texts:
        return ""
    return (
        f" (parameter {', '.join(texts)}: a template gives text, unless the DAG has render_template_as_native_obj=True;"
        " or convert it in the SQL)"
    )


def _quoted(parameters: Mapping[str, Any], place: str = "") -> dict[str, str]:
    if not isinstance(parameters, Mapping):
        raise AirflowFailException(
            f"{place}parameters: a {type(parameters).__name__}, but names with values are needed"
        )
    try:
        return quote(parameters)
    except UnquotableError as error:
        raise AirflowFailException(f"{place}{error}") from error


def _read_part(name: str, sql: Any, parameters: Mapping[str, Any], quoted: Mapping[str, str]) -> list[FilledStatement]:
    """Split one part of ``sql`` and fill its statements.

    :raises AirflowFailException: naming the place.
    """
    if not isinstance(sql, str):
        raise AirflowFailException(f"{name}: a {type(sql).__name__}, but SQL is text, or a list of texts")
    if file_name(sql) and len(sql.split()) == 1:
        raise AirflowFailException(
            f"{sql.strip()}: no such file was read. The name of a file is looked for in the DAG's folder and its"
            f" template_searchpath, but must be written out: no template, no other task's result"
        )
    try:
        statements = split(sql)
    except SqlError as error:
        raise AirflowFailException(f"{name}, {locate(sql, error.position)}: {error}") from error
    if not statements:
        raise AirflowFailException(f"{name}: holds no statement")
    prepared = []
    for number, (text, start) in enumerate(statements, 1):
        place = f"{name}, statement {number} of {len(statements)}"
        try:
            prepared.append(FilledStatement(fill(text, quoted), place, text, parameters))
        except SqlError as error:
            raise AirflowFailException(f"{place}, {locate(sql, start + error.position)}: {error}") from error
    return prepared


def _reads_like_another_type(value: object) -> TypeGuard[str]:
    """Whether a value is a text such as a template makes of a number, a list or a truth value."""
    if not isinstance(value, str) or len(value) > _LONGEST_LOOKED_AT:
        return False
    try:
        return not isinstance(ast.literal_eval(value.strip()), str)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
