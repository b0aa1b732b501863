"""Values of every type, stored through each way in and read through each way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from clickhouse_driver.columns.service import get_column_by_spec
from hypothesis import HealthCheck, given, settings

from clickhouse_testkit.type_trees import SCALARS, Type, edge_rows, tables, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clickhouse_testkit.suite import Suite
    from clickhouse_testkit.target import Client

_EXAMPLES = 40
_WRITERS = ("row binary", "connect", "native")


class _Table:
    """A table with these columns behind who wrote a row and its number.

    :param suite: the clients.
    :param columns: the types under test.
    :param rows: what is stored, once by each writer.
    """

    def __init__(self, suite: Suite, columns: Sequence[Type], rows: Sequence[tuple[Any, ...]]) -> None:
        self._suite = suite
        self._columns = columns
        self._rows = rows
        self._zone = ZoneInfo(suite.timezone)
        self._name = suite.new_name()
        self._names = ["writer", "number", *(f"c{index}" for index in range(len(columns)))]
        self._types = ["UInt8", "UInt32", *(column.name for column in columns)]
        self.expected = [
            [column.pack(value, self._zone) for column, value in zip(columns, row, strict=True)] for row in rows
        ]

    def __enter__(self) -> _Table:
        listed = ", ".join(f"{name} {type_name}" for name, type_name in zip(self._names, self._types, strict=True))
        sql = f"CREATE TABLE {self._name} ({listed}) ENGINE = MergeTree ORDER BY (writer, number)"
        self._suite.plain.ask(f"{sql} SETTINGS index_granularity = 8192", allow_suspicious_low_cardinality_types=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._suite.plain.ask(f"DROP TABLE {self._name} SYNC")

    def write(self, writer: int) -> None:
        """Insert the rows through a writer."""
        if writer == 0:
            self._write_packed()
            return
        client = self._client(writer)
        client.insert(self._name, self._names, self._types, [(writer, *row) for row in self._numbered()])

    def _write_packed(self) -> None:
        lines = (
            b"\x00" + number.to_bytes(4, "little") + b"".join(values) for number, values in enumerate(self.expected)
        )
        reply = self._suite.plain.data(f"INSERT INTO {self._name} FORMAT RowBinary", b"".join(lines))
        assert reply.code is None, reply.text

    def read_packed(self, writer: int) -> bytes:
        """What the server says a writer has stored, as RowBinary."""
        return self._suite.plain.body(self._select(writer), "RowBinary")

    def wrong(self, reader: int) -> list[str]:
        """The types and values that a client reads otherwise than they were written."""
        types, rows = self._client(reader).read(self._select(0))
        assert len(rows) == len(self._rows)
        wrong_types = [
            f"{column.name}: {name}" for column, name in zip(self._columns, types, strict=True) if column.name != name
        ]
        return wrong_types + [
            f"{column.name}: {value!r}"
            for row, expected in zip(rows, self.expected, strict=True)
            for column, value, packed in zip(self._columns, row, expected, strict=True)
            if column.pack(value, self._zone) != packed
        ]

    def _client(self, index: int) -> Client:
        return self._suite.client(_WRITERS[index])

    def _numbered(self) -> Iterator[tuple[Any, ...]]:
        return ((number, *row) for number, row in enumerate(self._rows))

    def _select(self, writer: int) -> str:
        return f"SELECT {', '.join(self._names[2:])} FROM {self._name} WHERE writer = {writer} ORDER BY number"


def _check(suite: Suite, columns: Sequence[Type], rows: Sequence[tuple[Any, ...]], clients: Sequence[int]) -> None:
    with _Table(suite, columns, rows) as table:
        for writer in (0, *clients):
            table.write(writer)
        for writer in (0, *clients):
            expected = b"".join(b"".join(row) for row in table.expected)
            assert table.read_packed(writer) == expected, f"stored through {_WRITERS[writer]}"
        for reader in clients:
            assert table.wrong(reader) == [], f"read through {_WRITERS[reader]}"


def _check_all(suite: Suite, columns: Sequence[Type], rows: Sequence[tuple[Any, ...]]) -> None:
    """The columns that both clients can name, and then those that clickhouse_driver cannot."""
    known = [_the_driver_knows(suite, column) for column in columns]
    for is_known, clients in ((True, (1, 2)), (False, (1,))):
        chosen = [index for index, value in enumerate(known) if value is is_known]
        if chosen:
            part = [tuple(row[index] for index in chosen) for row in rows]
            _check(suite, [columns[index] for index in chosen], part, clients)


def _the_driver_knows(suite: Suite, column: Type) -> bool:
    """Whether clickhouse_driver can take the type's name apart: it splits maps at the wrong comma where several are."""
    options = {"context": suite.native.client.connection.context}
    try:
        get_column_by_spec(column.name, options)
    except ValueError:
        assert "Map(" in column.name
        return False
    return True


@pytest.mark.parametrize("scalar", SCALARS.values(), ids=lambda scalar: scalar.name.partition("('least'")[0])
def test_values_at_the_edges_come_back(suite: Suite, scalar: Type) -> None:
    columns = wrapped(scalar)
    _check_all(suite, columns, edge_rows(columns))


@settings(
    max_examples=_EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(tables())
def test_values_of_nested_types_come_back(suite: Suite, table: tuple[list[Type], list[tuple[Any, ...]]]) -> None:
    _check_all(suite, *table)


@pytest.mark.parametrize("rows", [0, 1, 65_409, 100_000])
def test_results_of_any_length_are_whole_and_in_order(suite: Suite, rows: int) -> None:
    sql = f"SELECT number AS n, toString(number) AS s FROM numbers({rows})"
    expected = [(number, str(number)) for number in range(rows)]
    assert [tuple(row) for row in suite.plain.rows(sql)] == expected
    for client in (suite.connect, suite.native):
        assert [(number, text.decode()) for number, text in client.rows(sql)] == expected


_OVER_HTTP_ONLY = {
    "JSON": ['{"a":1,"b":{"c":["x","y"]}}', "{}"],
    "Dynamic": ["1", "x"],
    "Variant(String, UInt64)": ["x", "7"],
    "BFloat16": ["0.5", "-2"],
    "Time": ["12:34:56", "-01:00:00"],
    "AggregateFunction(sum, UInt64)": ["\x00" * 8, "\x07" + "\x00" * 7],
    "Nested(a UInt8, b String)": ["[(1,'x'),(2,'y')]", "[]"],
    "Point": ["(1,2)", "(-3,4.5)"],
    "Array(Tuple(a Nullable(UInt8), b Map(String, Array(LowCardinality(String)))))": ["[(NULL,{'k':['x']})]", "[]"],
}


@pytest.mark.parametrize("type_name", _OVER_HTTP_ONLY)
def test_text_of_types_that_not_every_client_knows_comes_back(suite: Suite, type_name: str) -> None:
    table, values = suite.new_name(), _OVER_HTTP_ONLY[type_name]
    suite.plain.ask(
        f"CREATE TABLE {table} (n UInt8, v {type_name}) ENGINE = MergeTree ORDER BY n",
        flatten_nested=0,
        enable_time_time64_type=1,
    )
    data = "".join(f"{number}\t{value}\n" for number, value in enumerate(values))
    reply = suite.plain.data(f"INSERT INTO {table} FORMAT TSV", data)
    assert reply.code is None, reply.text
    first = suite.plain.body(f"SELECT * FROM {table} ORDER BY n", "TSVRaw")
    assert first.decode() == data
    native = suite.plain.body(f"SELECT n + 2 AS n, v FROM {table} ORDER BY n", "Native")
    again = suite.plain.data(f"INSERT INTO {table} FORMAT Native", native)
    assert again.code is None, again.text
    assert suite.plain.body(f"SELECT n - 2, v FROM {table} WHERE n > 1 ORDER BY n", "TSVRaw") == first
    suite.plain.ask(f"DROP TABLE {table} SYNC")
