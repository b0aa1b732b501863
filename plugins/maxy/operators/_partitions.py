"""Which partitions a table has, and which of them a value means: both are said by ClickHouse, by a partition's id.

A value is never compared as text, for ClickHouse prints it in one way of many. What a value means is decided once, from
the types of the table's partition key; from there on only the id is used, which is the same for the table and for a
stage table that was made like it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from airflow.sdk.exceptions import AirflowFailException

from maxy.operators._identifiers import IN_ITS_DATABASE, table_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maxy.hooks.clickhouse import StatementResult

_ID = re.compile(r"[0-9A-Za-z_-]+")
# Whole dates, with or without a time and a zone: everything that ClickHouse, ISO 8601 and Airflow's macros print.
# Shorter forms are refused, since they would be completed by a guess.
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{4})(\d{2})(\d{2})")
_HOUR, _SIXTIETH = r"(?:[01]?\d|2[0-3])", r"[0-5]\d"
_TIME = re.compile(
    rf"(?:\d{{4}}-\d{{1,2}}-\d{{1,2}}[T ]{_HOUR}:{_SIXTIETH}(?::{_SIXTIETH}(?:\.(?P<fraction>\d{{1,9}}))?)?"
    rf"|\d{{8}}T?(?:[01]\d|2[0-3]){_SIXTIETH}{_SIXTIETH})"
    r"\ ?(?:Z|[+-]\d{2}:?\d{2})?"
)
_SECONDS = re.compile(r"\d{9,10}")
_WRAPPER = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)", re.DOTALL)
_DATE_TYPE = re.compile(r"Date(?:32)?")
_TIME_TYPE = re.compile(r"DateTime(?:64)?(?:\((?:(?P<scale>\d+)(?:, )?)?(?:'(?P<zone>[^']+)')?\))?")
_DECIMAL_TYPE = re.compile(r"Decimal\(.*\)")
_TEXT_TYPE = re.compile(r"String|FixedString\(\d+\)")


class RunStatement(Protocol):
    """Runs one statement of a task."""

    def __call__(
        self, statement: str, *, place: str, parameters: Mapping[str, Any] | None = None
    ) -> StatementResult: ...


@dataclass(frozen=True)
class Partition:
    """One partition of a table; equal if the id is.

    :param id: ClickHouse's id of it; letters, digits, ``-`` and ``_`` alone.
    :param value: its value as ClickHouse prints it.
    """

    id: str
    value: str = field(compare=False)

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is not the id of a partition")


@dataclass(frozen=True)
class PartitionKey:
    """What a table is partitioned by.

    :param table: the table.
    :param expression: the key as ClickHouse prints it.
    :param types: the types of its columns or expressions, in their order.
    """

    table: str
    expression: str
    types: Sequence[str]


def read_partition_key(run: RunStatement, table: str) -> PartitionKey:
    """Look at a table before anything is computed for it.

    :raises AirflowFailException: if it is not there, or has no partitions that can be swapped.
    """
    found = run(
        f"SELECT engine, partition_key FROM system.tables WHERE name = %(table)s AND {IN_ITS_DATABASE}",
        place=f"look at {table}",
        parameters=table_parameters(table),
    )
    if not found.rows:
        raise AirflowFailException(f"{table}: there is no such table")
    ((engine, expression),) = found.rows
    if not engine.endswith("MergeTree"):
        raise AirflowFailException(
            f"{table}: its engine is {engine}, which has no partitions that can be swapped; a MergeTree table is needed"
        )
    if expression in ("", "tuple()"):
        raise AirflowFailException(f"{table}: it is not partitioned; a table with PARTITION BY is needed")
    described = run(
        f"DESCRIBE TABLE (SELECT untuple(_partition_value) FROM {table})", place=f"types of {table}'s partitions"
    )
    return PartitionKey(table, expression, [str(row[1]) for row in described.rows])


def resolve(run: RunStatement, key: PartitionKey, values: Sequence[Any], *, timezone: str) -> list[Partition]:
    """Return which partitions some values mean, each once, whether or not they have rows.

    :param values: a value for each partition, or of a key of several columns a tuple of them; as the native types or as
        text. The text of a tuple is written as ClickHouse prints it: ``('2026-11-20', 'kr')``.
    :param timezone: the zone of times that name none, for columns without a zone of their own.
    :raises AirflowFailException: naming a value that does not fit the key.
    """
    # A dict and no set: in the order of the values.
    return list(dict.fromkeys(_resolve_one(run, key, value, timezone) for value in values))


def rows_by_partition(run: RunStatement, table: str) -> dict[Partition, int]:
    """Return how many rows each partition of a table has."""
    found = run(
        f"""
        SELECT partition_id, any(partition), sum(rows) FROM system.parts
        WHERE active AND table = %(table)s AND {IN_ITS_DATABASE}
        GROUP BY partition_id HAVING sum(rows) > 0 ORDER BY partition_id
        """,
        place=f"count {table}'s rows",
        parameters=table_parameters(table),
    )
    return {Partition(str(id_), str(value)): int(rows) for id_, value, rows in found.rows}


def _resolve_one(run: RunStatement, key: PartitionKey, value: Any, timezone: str) -> Partition:
    elements = []
    for position, (element, type_) in enumerate(zip(_elements(key, value), key.types, strict=True)):
        try:
            elements.append(_typed(element, type_, timezone, str(position)))
        except ValueError as error:
            raise _does_not_fit(key, value, str(error)) from None
    joined = ", ".join(element.expression for element in elements)
    printed = f"toString({joined})" if len(elements) == 1 else f"toString(tuple({joined}))"
    fits = ", ".join(f"ifNull({element.fits}, 0)" for element in elements)
    found = run(
        f"SELECT partitionId({joined}), {printed}, [{fits}]",
        place=f"which partition {value!r} is",
        parameters={name: text for element in elements for name, text in element.parameters.items()},
    )
    ((id_, text, all_fit),) = found.rows
    misfit = [type_ for type_, does_fit in zip(key.types, all_fit, strict=True) if not does_fit]
    if misfit:
        raise _does_not_fit(key, value, f"it is no value of type {' and '.join(misfit)}")
    return Partition(str(id_), str(text))


def _elements(key: PartitionKey, value: Any) -> Sequence[Any]:
    count = len(key.types)
    given = value
    if count > 1 and isinstance(value, str):
        try:
            given = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise _does_not_fit(key, value, f"it is not the text of a tuple of {count} values") from None
    elements = given if isinstance(given, (tuple, list)) else (given,)
    if len(elements) != count:
        raise _does_not_fit(key, value, f"the key needs {count} values, it has {len(elements)}")
    return elements


@dataclass(frozen=True)
class _Element:
    """One value of a partition, as SQL.

    :param expression: the value; NULL if the text is none of its type.
    :param parameters: the parameters of the two expressions.
    :param fits: 1 if the value is exactly what was given.
    """

    expression: str
    parameters: Mapping[str, str]
    fits: str


def _typed(element: Any, type_: str, timezone: str, suffix: str) -> _Element:
    """Return a value as one of a type of ClickHouse's.

    :raises ValueError: if its form tells already that it is none.
    """
    plain = type_
    while wrapped := _WRAPPER.fullmatch(plain):
        plain = wrapped[1]
    text = _text(element)
    if _DATE_TYPE.fullmatch(plain):
        return _typed_date(text.strip(), plain, timezone, suffix)
    if time := _TIME_TYPE.fullmatch(plain):
        return _typed_time(text.strip(), plain, time["zone"] or timezone, suffix)
    cast = f"accurateCastOrNull(%(value{suffix})s, %(type{suffix})s)"
    parameters = {f"value{suffix}": text if _TEXT_TYPE.fullmatch(plain) else text.strip(), f"type{suffix}": plain}
    if _DECIMAL_TYPE.fullmatch(plain):
        # The cast cuts digits off.
        return _Element(cast, parameters, f"{cast} = accurateCastOrNull(%(value{suffix})s, 'Decimal(76, 38)')")
    return _Element(cast, parameters, f"isNotNull({cast})")


def _typed_date(text: str, type_: str, timezone: str, suffix: str) -> _Element:
    cast = f"accurateCastOrNull(%(value{suffix})s, %(type{suffix})s)"
    if found := _DATE.fullmatch(text):
        day = date(*(int(part) for part in found.groups() if part is not None))
        parameters = {f"value{suffix}": day.isoformat(), f"type{suffix}": type_}
        # Of a date that is none, or out of the type's range, the cast makes another one.
        return _Element(cast, parameters, f"toString({cast}) = %(value{suffix})s")
    moment, parameters = _moment(text, timezone, suffix)
    expression = f"accurateCastOrNull(substring(toString({moment}), 1, 10), %(type{suffix})s)"
    # A time within the day may mean this day or, in another zone, the next.
    is_midnight = f"match(toString({moment}), ' 00:00:00[.]0*$') AND toString({expression}) = "
    return _Element(
        expression, {**parameters, f"type{suffix}": type_}, f"{is_midnight}substring(toString({moment}), 1, 10)"
    )


def _typed_time(text: str, type_: str, timezone: str, suffix: str) -> _Element:
    moment, parameters = _moment(text, timezone, suffix)
    if _SECONDS.fullmatch(text):
        moment = f"fromUnixTimestamp64Second(toInt64OrNull(%(value{suffix})s))"
    expression = f"accurateCastOrNull({moment}, %(type{suffix})s)"
    # A fraction for which the type has no room would mean another time.
    return _Element(expression, {**parameters, f"type{suffix}": type_}, f"{expression} = {moment}")


def _moment(text: str, timezone: str, suffix: str) -> tuple[str, dict[str, str]]:
    """Return the expression that reads a time, and its parameters.

    :raises ValueError: for forms in which something would have to be guessed.
    """
    found = _TIME.fullmatch(text)
    if not (found or _DATE.fullmatch(text) or _SECONDS.fullmatch(text)):
        raise ValueError(f"{text!r} is no whole date or time, such as 2026-11-20 or 2026-11-20T03:00:00+00:00")
    # With nine digits ClickHouse's range ends in 2262.
    scale = 9 if found and len(found["fraction"] or "") > 6 else 6
    return (
        f"parseDateTime64BestEffortOrNull(%(value{suffix})s, {scale}, %(zone{suffix})s)",
        {f"value{suffix}": text, f"zone{suffix}": timezone},
    )


def _text(element: Any) -> str:
    """Return a value as a text that ClickHouse can cast.

    :raises ValueError: for what cannot be the value of a partition.
    """
    if isinstance(element, datetime):
        if element.tzinfo is None:
            return element.isoformat(sep=" ")
        return element.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ") + "Z"
    if isinstance(element, bool):
        return str(int(element))
    if isinstance(element, (str, int, Decimal, date, UUID)):
        return str(element)
    raise ValueError(f"a value of type {type(element).__name__} names no partition")


def _does_not_fit(key: PartitionKey, value: Any, cause: str) -> AirflowFailException:
    types = ", ".join(key.types)
    return AirflowFailException(f"{key.table}: {value!r} names no partition ({key.expression}: {types}): {cause}")
