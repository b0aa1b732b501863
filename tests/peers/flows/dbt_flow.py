"""dbt with its ClickHouse adapter: seeds, a view, tables, three ways of being incremental, a snapshot, tests; twice.

Everything is built by both drivers, over HTTP and over the native protocol, then again from changed seeds.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow import Address, Report, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"
_SECONDS = 240
_START = datetime(2026, 11, 1, 8, tzinfo=UTC)
_DAYS = 10
#: The second build changes orders of this day and later ones, and adds to them.
_OVERWRITTEN_FROM = date(2026, 11, 7)
_LOW = 95


@dataclass(frozen=True)
class Customer:
    id: int
    name: str
    city: str | None
    updated_at: datetime


@dataclass(frozen=True)
class Order:
    id: int
    customer_id: int
    amount: Decimal
    ordered_on: date
    updated_at: datetime


@dataclass(frozen=True)
class Seeds:
    customers: list[Customer]
    orders: list[Order]

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        _write_csv(folder / "customers.csv", self.customers)
        _write_csv(folder / "orders.csv", self.orders)


def first_seeds() -> Seeds:
    cities = ("Seoul", "부산", 'the "old" town, north', None)
    customers = [
        Customer(number, f"Customer {number}; O'Neill", cities[number % 4], _START + timedelta(minutes=number))
        for number in range(1, 41)
    ]
    orders = [
        Order(
            id=number,
            customer_id=number % 37 + 1,
            amount=Decimal(number * 31 % 10_000) / 100,
            ordered_on=_START.date() + timedelta(days=number % _DAYS),
            updated_at=_START + timedelta(seconds=number),
        )
        for number in range(1, 1201)
    ]
    return Seeds(customers, orders)


def second_seeds(first: Seeds) -> Seeds:
    """Return ``first`` with some customers moved, some orders of the last days changed, and new ones of both."""
    later = _START + timedelta(days=2)
    customers = [
        replace(customer, city="Incheon", updated_at=later) if customer.id % 5 == 0 else customer
        for customer in first.customers
    ]
    customers += [Customer(number, f"New {number}", "Daegu", later) for number in (41, 42)]
    orders = [
        replace(order, amount=order.amount + 1, updated_at=later)
        if order.ordered_on >= _OVERWRITTEN_FROM and order.id % 2
        else order
        for order in first.orders
    ]
    orders += [
        Order(number, number % 42 + 1, Decimal("12.34"), _OVERWRITTEN_FROM, later) for number in range(1201, 1301)
    ]
    return Seeds(customers, orders)


class Project:
    """A copy of the dbt project, built with one driver into a database of its own.

    :param driver: the name of a target in profiles.yml.
    """

    def __init__(self, driver: str, address: Address, report: Report) -> None:
        self._driver = driver
        self._address = address
        self._report = report
        self._folder = scratch_folder() / f"dbt_{driver}"
        shutil.copytree(_PROJECT, self._folder)

    def try_all(self) -> None:
        first = first_seeds()
        second = second_seeds(first)
        self._build(1, first)
        self._check_first(first)
        self._build(2, second)
        self._check_second(first, second)
        self._check_failing_test(second)

    def _build(self, number: int, seeds: Seeds) -> None:
        seeds.write(self._folder / "seeds")
        status = self._dbt("build", {"build": number, "overwritten_from": _OVERWRITTEN_FROM.isoformat()})
        self._expect(f"build {number}: exit status", status, 0)
        # 2 seeds, 5 models, 1 snapshot; 8 tests.
        self._expect(f"build {number}: results", self._results(), {"success": 8, "pass": 8})

    def _check_first(self, seeds: Seeds) -> None:
        self._check_derived("build 1", seeds)
        self._check_orders("build 1: incremental by key", "latest_orders", [(order, 1) for order in seeds.orders])
        self._check_orders("build 1: append", "appended_orders", [(order, 1) for order in seeds.orders])
        self._check_orders("build 1: days replaced", "daily_orders", [(order, 1) for order in seeds.orders])
        self._check_history("build 1", [(customer, None) for customer in seeds.customers])

    def _check_second(self, first: Seeds, second: Seeds) -> None:
        self._check_derived("build 2", second)
        before = {order.id: order for order in first.orders}
        by_key = [(order, 1 if before.get(order.id) == order else 2) for order in second.orders]
        self._check_orders("build 2: incremental by key", "latest_orders", by_key)
        appended = [(order, 1) for order in first.orders] + [(order, 2) for order in second.orders]
        self._check_orders("build 2: append", "appended_orders", appended)
        by_day = [(order, 1) for order in first.orders if order.ordered_on < _OVERWRITTEN_FROM]
        by_day += [(order, 2) for order in second.orders if order.ordered_on >= _OVERWRITTEN_FROM]
        self._check_orders("build 2: days replaced", "daily_orders", by_day)
        now = {customer.id: customer for customer in second.customers}
        history: list[tuple[Customer, datetime | None]] = [
            (old, now[old.id].updated_at) for old in first.customers if now[old.id] != old
        ]
        history += [(customer, None) for customer in second.customers]
        self._check_history("build 2", history)

    def _check_derived(self, step: str, seeds: Seeds) -> None:
        """The seeds themselves, the view and the table, which are made anew by every build."""
        self._expect(
            f"{step}: seed",
            self._rows("SELECT id, name, city, toUnixTimestamp(updated_at) FROM {table} ORDER BY id", "customers"),
            [[row.id, row.name, row.city, int(row.updated_at.timestamp())] for row in seeds.customers],
        )
        large = [order for order in seeds.orders if order.amount >= 50]
        self._expect(
            f"{step}: view",
            self._rows("SELECT count(), toString(sum(amount)), sum(id) FROM {table}", "large_orders"),
            [[len(large), _plain(sum(order.amount for order in large)), sum(order.id for order in large)]],
        )
        expected = []
        for customer in seeds.customers:
            amounts = [order.amount for order in seeds.orders if order.customer_id == customer.id]
            if amounts:
                expected.append([customer.id, customer.name, len(amounts), _plain(sum(amounts))])
        self._expect(
            f"{step}: table with a contract",
            self._rows(
                "SELECT customer_id, name, orders, toString(amount) FROM {table} ORDER BY ALL", "customer_totals"
            ),
            expected,
        )

    def _check_orders(self, what: str, table: str, orders: Iterable[tuple[Order, int]]) -> None:
        self._expect(
            what,
            self._rows("SELECT id, toString(amount), build FROM {table} ORDER BY id, build", table),
            sorted(
                ([order.id, _plain(order.amount), build] for order, build in orders), key=lambda row: (row[0], row[2])
            ),
        )

    def _check_history(self, step: str, history: Iterable[tuple[Customer, datetime | None]]) -> None:
        """Each state of each customer, and when the next one replaced it."""
        rows = self._rows(
            "SELECT id, city, toUnixTimestamp(dbt_valid_from), toUnixTimestamp(dbt_valid_to) FROM {table} "
            "ORDER BY id, dbt_valid_from",
            "customer_history",
        )
        expected = [
            [customer.id, customer.city, int(customer.updated_at.timestamp()), end and int(end.timestamp())]
            for customer, end in history
        ]
        self._expect(f"{step}: snapshot", rows, sorted(expected, key=lambda row: (row[0], row[2])))

    def _check_failing_test(self, seeds: Seeds) -> None:
        status = self._dbt("test", {"highest_amount": _LOW}, "--select", "no_order_is_too_dear")
        self._expect("a test that must fail: exit status", status, 1)
        results = json.loads((self._folder / "target/run_results.json").read_text(encoding="utf-8"))["results"]
        found = [(result["status"], result["failures"]) for result in results]
        self._expect(
            "a test that must fail: rows", found, [("fail", sum(order.amount > _LOW for order in seeds.orders))]
        )

    def _dbt(self, command: str, variables: dict[str, Any], *arguments: str) -> int:
        line = [str(Path(sys.executable).parent / "dbt"), "--no-version-check", command, "--target", self._driver]
        line += ["--project-dir", str(self._folder), "--profiles-dir", str(self._folder)]
        line += ["--vars", json.dumps(variables), *arguments]
        environment = os.environ | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
        done = subprocess.run(line, env=environment, cwd=self._folder, timeout=_SECONDS, capture_output=True, text=True)
        if done.returncode not in (0, 1) or "Runtime Error" in done.stdout:
            print(done.stdout[-3000:], done.stderr[-1000:], flush=True)
        return done.returncode

    def _results(self) -> dict[str, int]:
        """Return how many nodes of the last command have ended with which status."""
        results = json.loads((self._folder / "target/run_results.json").read_text(encoding="utf-8"))["results"]
        counts: dict[str, int] = {}
        for result in results:
            counts[result["status"]] = counts.get(result["status"], 0) + 1
            if result["status"] not in ("success", "pass"):
                print(f"     {result['unique_id']}: {result['status']}: {result['message']}", flush=True)
        return counts

    def _rows(self, statement: str, table: str) -> list[list[Any]]:
        return self._address.rows(statement.format(table=f"dbt_{self._driver}.{table}"))

    def _expect(self, what: str, actual: object, expected: object) -> None:
        self._report.expect(f"{self._driver}: {what}", actual, expected)


def _write_csv(path: Path, rows: Sequence[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(vars(rows[0]))
        for row in rows:
            writer.writerow(
                f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value for value in vars(row).values()
            )


def _plain(amount: Decimal | int) -> str:
    """Return the number as ClickHouse writes a decimal: without zeros at the end."""
    text = f"{amount:.2f}"
    return text.rstrip("0").rstrip(".")


def main() -> None:
    report = Report("dbt-core", "dbt-clickhouse", "clickhouse-connect", "clickhouse-driver")
    address = Address.of_environment()
    for driver in ("http", "native"):
        Project(driver, address, report).try_all()
    report.end()


if __name__ == "__main__":
    main()
