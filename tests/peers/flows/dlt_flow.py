"""dlt's ClickHouse destination: append, merge, replace, nested lists, a new column, the state.

It loads files over HTTP, with a Content-Encoding of ClickHouse's names: `gz`, `none` or, for Parquet, `auto`. Each of
them has a dataset of its own here, and goes through the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dlt
from dlt.destinations.impl.clickhouse.configuration import ClickHouseCredentials
from dlt.destinations.impl.clickhouse.sql_client import ClickHouseSqlClient
from flow import Address, Report, scratch_folder

Row = dict[str, Any]

_FIRST = datetime(2026, 11, 1, tzinfo=UTC)
_NAMES = ("plain", "한국어", "quote ' and \\ and \t tab", "emoji 😀", "")


def events(numbers: range, *, revision: int = 0, score: bool = False) -> list[Row]:
    """Return an event for each number, with two levels of lists in it."""
    rows = []
    for number in numbers:
        row: Row = {
            "id": number,
            "name": _NAMES[number % len(_NAMES)],
            "amount": Decimal(number * 7 + revision) / 100,
            "at": _FIRST + timedelta(seconds=number * 61, microseconds=number),
            "note": None if number % 3 else f"note {number}",
            "revision": revision,
            "tags": [f"tag{index}" for index in range(number % 4)],
            "items": [{"sku": f"s{index}", "sizes": list(range(index))} for index in range(number % 3)],
        }
        if score:
            row["score"] = number / 8
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Mode:
    """One way in which dlt writes its files.

    :param encodings: what it then sends as Content-Encoding.
    """

    name: str
    file_format: str
    compressed: bool
    encodings: frozenset[str]


MODES = (
    Mode("gz", "jsonl", True, frozenset({"gz"})),
    Mode("plain", "jsonl", False, frozenset({"none"})),
    # dlt's own tables, such as that of the state, are never Parquet.
    Mode("parquet", "parquet", True, frozenset({"auto", "gz"})),
)


class Dataset:
    """One dataset of dlt in the server, and what should be in it.

    :param encodings: filled with what dlt passes on as Content-Encoding.
    """

    def __init__(self, address: Address, report: Report, mode: Mode, encodings: set[str]) -> None:
        self.name = f"ds_{mode.name}"
        self._address = address
        self._report = report
        self._mode = mode
        self._encodings = encodings
        self.pipeline = self._pipeline("first")

    def try_all(self) -> None:
        dlt.config["data_writer.disable_compression"] = not self._mode.compressed
        self._encodings.clear()
        loaded = events(range(500))
        self._run(loaded, "append")
        self._check("append", loaded)
        loaded += events(range(500, 800))
        self._run(events(range(500, 800)), "append")
        self._check("append again", loaded)

        kept = {row["id"]: row for row in events(range(300))}
        self._run(list(kept.values()), "merge", table="merged", primary_key="id")
        for numbers, revision in ((range(200, 450), 1), (range(100, 350), 2)):
            changed = events(numbers, revision=revision)
            kept |= {row["id"]: row for row in changed}
            self._run(changed, "merge", table="merged", primary_key="id")
            self._check(f"merge {revision}", list(kept.values()), table="merged")

        replaced = events(range(50, 90), revision=3, score=True)
        self._run(replaced, "replace")
        self._check("replace", replaced)
        self._check_scores(replaced)
        self._check_reading(replaced)
        self._check_state()
        self._report.expect(f"{self.name}: Content-Encoding", self._encodings, self._mode.encodings)

    def _pipeline(self, folder: str) -> dlt.Pipeline:
        """Return the pipeline as a machine of its own would have it: with a folder of its own for the state."""
        address = self._address
        credentials = ClickHouseCredentials(
            {
                "host": address.host,
                "port": address.tcp_port,
                "http_port": address.http_port,
                "username": address.user,
                "password": address.password,
                "database": "dlt",
                "secure": 0,
            }
        )
        return dlt.pipeline(
            self.name,
            destination=dlt.destinations.clickhouse(credentials=credentials),
            dataset_name=self.name,
            pipelines_dir=str(scratch_folder() / folder),
        )

    def _run(self, rows: list[Row], disposition: str, table: str = "events", **hints: Any) -> None:
        load = self.pipeline.run(
            rows, table_name=table, write_disposition=disposition, loader_file_format=self._mode.file_format, **hints
        )
        load.raise_on_failed_jobs()

    def _table(self, table: str) -> str:
        return f"dlt.`{self.name}___{table}`"

    def _check(self, step: str, rows: list[Row], table: str = "events") -> None:
        """Compare every column of the table, and the tables that dlt makes of its lists, with ``rows``."""
        found = self._address.rows(
            "SELECT id, name, toString(amount), toUnixTimestamp64Micro(toDateTime64(at, 6)), note, revision "
            f"FROM {self._table(table)} ORDER BY id"
        )
        expected = [
            [row["id"], row["name"], row["amount"], _microseconds(row["at"]), row["note"], row["revision"]]
            for row in rows
        ]
        decimals = [[*row[:2], Decimal(row[2]), *row[3:]] for row in found]
        self._report.expect(f"{self.name}: {step}: rows", decimals, expected)
        for child, columns, values in (
            ("tags", "value", [(row["id"], tag) for row in rows for tag in row["tags"]]),
            ("items", "sku", [(row["id"], item["sku"]) for row in rows for item in row["items"]]),
        ):
            joined = self._address.rows(
                f"SELECT parent.id, child.{columns} FROM {self._table(f'{table}__{child}')} AS child "
                f"INNER JOIN {self._table(table)} AS parent ON child._dlt_parent_id = parent._dlt_id ORDER BY ALL"
            )
            self._report.expect(f"{self.name}: {step}: {child}", [tuple(row) for row in joined], sorted(values))
        sizes = [size for row in rows for item in row["items"] for size in item["sizes"]]
        deepest = self._address.rows(f"SELECT count(), sum(value) FROM {self._table(f'{table}__items__sizes')}")
        self._report.expect(f"{self.name}: {step}: lists in lists", deepest, [[len(sizes), sum(sizes)]])

    def _check_scores(self, rows: list[Row]) -> None:
        found = self._address.value(f"SELECT sum(score) FROM {self._table('events')}")
        self._report.expect(f"{self.name}: a column that came later", found, sum(row["score"] for row in rows))

    def _check_reading(self, rows: list[Row]) -> None:
        """Read by dlt itself, over the native protocol."""
        found = self.pipeline.dataset().events.select("id", "name", "amount").fetchall()
        expected = [(row["id"], row["name"], row["amount"]) for row in rows]
        self._report.expect(f"{self.name}: read by dlt", sorted(found), expected)

    def _check_state(self) -> None:
        """A second machine knows from the server how far the first has come."""
        values = iter((range(10), range(5, 25)))

        def numbers(last: Any = dlt.sources.incremental("number")) -> Any:  # noqa: B008 - dlt's own form
            yield from ({"number": number} for number in next(values))

        cursors = dlt.resource(numbers, name="cursors", write_disposition="append")
        self.pipeline.run(cursors(), loader_file_format=self._mode.file_format).raise_on_failed_jobs()
        self.pipeline = self._pipeline("second")
        self.pipeline.run(cursors(), loader_file_format=self._mode.file_format).raise_on_failed_jobs()
        found = self._address.rows(f"SELECT number FROM {self._table('cursors')} ORDER BY number")
        self._report.expect(f"{self.name}: incremental, on from the state", found, [[number] for number in range(25)])


def _microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _record_encodings() -> set[str]:
    """Return a set that holds what dlt passes on as Content-Encoding from now on."""
    encodings: set[str] = set()
    insert_file = ClickHouseSqlClient.insert_file

    def recorded(self: ClickHouseSqlClient, path: str, table: str, file_format: str, compression: str) -> Any:
        encodings.add(compression)
        return insert_file(self, path, table, file_format, compression)

    ClickHouseSqlClient.insert_file = recorded
    return encodings


def main() -> None:
    address = Address.of_environment()
    report = Report("dlt", "clickhouse-connect", "clickhouse-driver")
    address.rows("CREATE DATABASE dlt")
    encodings = _record_encodings()
    for mode in MODES:
        Dataset(address, report, mode, encodings).try_all()
    report.end()


if __name__ == "__main__":
    main()
