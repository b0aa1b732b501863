"""ibis on ClickHouse: tables of data frames and of expressions, joins with data of the client, views, Arrow, Parquet.

Data of the client that a query needs goes along as an external table; results come as Arrow.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from flow import Address, Report, scratch_folder

Row = dict[str, Any]

_COUNT = 5_000
_START = datetime(2026, 11, 1, tzinfo=UTC)
_CITIES = ("Seoul", "부산", "quote ' and \\", "")
_FACTORS = {"Seoul": 2, "부산": 3, "nowhere": 5}


def sales(numbers: range) -> list[Row]:
    return [
        {
            "id": number,
            "city": _CITIES[number % len(_CITIES)],
            "amount": number * 3 % 997 / 4,
            "note": None if number % 3 else f"note {number}",
            "at": _START + timedelta(seconds=number * 31),
            "day": date(2026, 11, 1) + timedelta(days=number % 20),
            "tags": [f"t{index}" for index in range(number % 3)],
        }
        for number in numbers
    ]


class Flow:
    """:param database: where it makes its tables."""

    def __init__(self, address: Address, report: Report, database: str) -> None:
        self._address = address
        self._database = database
        self._expect = report.expect
        self._connection = ibis.clickhouse.connect(
            host=address.host,
            port=address.http_port,
            user=address.user,
            password=address.password,
            database=database,
        )
        self._rows = sales(range(_COUNT))

    def try_all(self) -> None:
        self._create()
        self._aggregate()
        self._join_memtable()
        self._create_as_select()
        self._view()
        self._insert()
        self._arrow()
        self._parquet()
        self._window()
        self._temporary()
        tables = ["by_city", "enriched", "for_a_while", "large", "sales"]
        self._expect("tables at the end", sorted(self._connection.list_tables()), tables)

    def _in_server(self, select: str, table: str) -> list[list[Any]]:
        return self._address.rows(f"SELECT {select} FROM {self._database}.{table} ORDER BY ALL")

    def _create(self) -> None:
        table = self._connection.create_table("sales", pd.DataFrame(self._rows))
        self._expect("create from a data frame: count by ibis", int(table.count().execute()), _COUNT)
        self._check_sales("create from a data frame: rows", self._rows)
        kinds = {name: type(kind).__name__ for name, kind in table.schema().items()}
        expected = ["Int64", "String", "Float64", "String", "Timestamp", "Array"]
        self._expect(
            "types by ibis", [kinds[name] for name in ("id", "city", "amount", "note", "at", "tags")], expected
        )

    def _check_sales(self, what: str, rows: list[Row]) -> None:
        found = self._in_server(
            "id, city, amount, note, toUnixTimestamp64Micro(toDateTime64(at, 6)), toString(toDate(day)), tags", "sales"
        )
        expected = [
            [
                row["id"],
                row["city"],
                row["amount"],
                row["note"],
                int(row["at"].timestamp()) * 1_000_000,
                row["day"].isoformat(),
                row["tags"],
            ]
            for row in rows
        ]
        self._expect(what, found, expected)

    def _aggregate(self) -> None:
        table = self._connection.table("sales")
        result = table.group_by("city").agg(n=table.count(), total=table.amount.sum()).order_by("city").execute()
        self._expect("group by", _records(result), _by_city(self._rows))

    def _join_memtable(self) -> None:
        joined = self._enriched()
        result = joined.agg(n=joined.count(), total=(joined.amount * joined.factor).sum()).execute()
        known = [row for row in self._rows if row["city"] in _FACTORS]
        expected = (len(known), sum(row["amount"] * _FACTORS[row["city"]] for row in known))
        self._expect("join with a data frame of the client", _records(result), [expected])

    def _enriched(self) -> ibis.Table:
        factors = ibis.memtable(pd.DataFrame({"city": list(_FACTORS), "factor": list(_FACTORS.values())}))
        table = self._connection.table("sales")
        return table.join(factors, "city")

    def _create_as_select(self) -> None:
        expression = self._enriched().mutate(weighted=lambda row: row.amount * row.factor).select("id", "weighted")
        self._connection.create_table("enriched", expression)
        expected = [[row["id"], row["amount"] * _FACTORS[row["city"]]] for row in self._rows if row["city"] in _FACTORS]
        self._expect(
            "a table of an expression with data of the client", self._in_server("id, weighted", "enriched"), expected
        )
        table = self._connection.table("sales")
        self._connection.create_table("by_city", table.group_by("city").agg(n=table.count(), total=table.amount.sum()))
        found = [tuple(row) for row in self._in_server("city, n, total", "by_city")]
        self._expect("a table of an expression", found, _by_city(self._rows))

    def _view(self) -> None:
        table = self._connection.table("sales")
        view = self._connection.create_view("large", table.filter(table.amount > 200).select("id", "amount"))
        large = [row for row in self._rows if row["amount"] > 200]
        self._expect("view by ibis", int(view.id.sum().execute()), sum(row["id"] for row in large))
        self._expect(
            "view",
            self._in_server("count(), sum(amount)", "large"),
            [[len(large), sum(row["amount"] for row in large)]],
        )

    def _insert(self) -> None:
        more = sales(range(_COUNT, _COUNT + 1000))
        self._connection.insert("sales", pd.DataFrame(more))
        self._rows += more
        self._check_sales("insert of a data frame", self._rows)
        table = self._connection.table("sales")
        shifted = table.filter(table.id < 100).mutate(id=table.id + 1_000_000)
        self._connection.insert("sales", shifted)
        self._rows += [row | {"id": row["id"] + 1_000_000} for row in self._rows[:100]]
        self._check_sales("insert of an expression", self._rows)

    def _arrow(self) -> None:
        expression = self._connection.table("sales").select("id", "city", "amount", "note", "tags").order_by("id")
        expected = [{name: row[name] for name in ("id", "city", "amount", "note", "tags")} for row in self._rows]
        self._expect("Arrow table", expression.to_pyarrow().to_pylist(), expected)
        with expression.to_pyarrow_batches(chunk_size=512) as batches:
            tables = [pa.Table.from_batches([batch]) for batch in batches]
        self._expect("Arrow in batches", [row for table in tables for row in table.to_pylist()], expected)

    def _parquet(self) -> None:
        path = scratch_folder() / "sales.parquet"
        self._connection.to_parquet(self._connection.table("sales").select("id", "amount", "city").order_by("id"), path)
        expected = [{name: row[name] for name in ("id", "amount", "city")} for row in self._rows]
        self._expect("Parquet", pq.read_table(path).to_pylist(), expected)
        loaded = self._connection.read_parquet(path, table_name="of_parquet")
        self._expect("Parquet read into a table", int(loaded.id.sum().execute()), sum(row["id"] for row in self._rows))
        self._connection.drop_table("of_parquet")

    def _window(self) -> None:
        table = self._connection.table("sales")
        ranked = table.mutate(
            place=ibis.row_number().over(group_by=table.city, order_by=[table.amount.desc(), table.id])
        )
        result = ranked.filter(ranked.place == 0).select("city", "id").order_by("city").execute()
        best: dict[str, int] = {}
        for row in sorted(self._rows, key=lambda row: (-row["amount"], row["id"])):
            best.setdefault(row["city"], row["id"])
        self._expect("window: the dearest of each city", _records(result), sorted(best.items(), key=_bytes_first))

    def _temporary(self) -> None:
        table = self._connection.create_table("for_a_while", pd.DataFrame({"n": range(10)}), temp=True)
        self._expect("temporary table", int(table.n.sum().execute()), sum(range(10)))
        self._expect("temporary table is in no database", self._address.value("EXISTS TABLE ibis.for_a_while"), 0)


def _by_city(rows: list[Row]) -> list[tuple[str, int, float]]:
    # Quarters add up exactly, in whatever order.
    found = [
        (city, sum(row["city"] == city for row in rows), sum(row["amount"] for row in rows if row["city"] == city))
        for city in _CITIES
    ]
    return sorted(found, key=_bytes_first)


def _bytes_first(row: tuple[Any, ...]) -> bytes:
    """ClickHouse sorts text by its bytes."""
    return str(row[0]).encode()


def _records(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(index=False, name=None))


def main() -> None:
    address = Address.of_environment()
    report = Report("ibis-framework", "clickhouse-connect", "sqlglot", "pandas", "pyarrow")
    address.rows("CREATE DATABASE ibis")
    Flow(address, report, "ibis").try_all()
    report.end()


if __name__ == "__main__":
    main()
