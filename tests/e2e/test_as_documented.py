"""The pages, followed literally: their own shell blocks, one after the other, in a fresh checkout with its own stack.

What a page's text says between two blocks, such as "when that run has ended", is what the test does between them. Only
ports differ from the text.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from local.airflow_tasks import wait_for_dag
from local.settings import ADMIN_USER, read_settings
from local.stack import Progress, Stack
from scripts.backfill import AirflowApi
from tests.docs.blocks import blocks
from tests.e2e.conftest import PORT_VARIABLES, ROOT, RunningStack
from tests.ports import free_ports
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.docs.blocks import Block

_NOT_COPIED = (".git", ".venv", ".local", ".env", "__pycache__", ".*_cache", ".hypothesis", ".artefacts")
_BLOCK_SECONDS = 300.0
SHOP = "docs/examples/shop/README.md"
HOUR = timedelta(hours=1)


class Sale(NamedTuple):
    sold_at: datetime
    region: str
    product: str
    amount: Decimal


def sums(sales: Iterable[tuple[Any, Sale]]) -> dict[Any, tuple[int, Decimal]]:
    """Return how many sales there are and how much they brought, by whatever stands before each."""
    found: dict[Any, tuple[int, Decimal]] = {}
    for key, sale in sales:
        orders, revenue = found.get(key, (0, Decimal(0)))
        found[key] = (orders + 1, revenue + sale.amount)
    return found


class Shell:
    """A terminal in a folder: variables last from block to block, as they do for who types them.

    :param folder: where it is.
    :param environment: what it is started with.
    :param ports: what stands in the place of addresses in the text.
    """

    def __init__(self, folder: Path, environment: dict[str, str], ports: dict[str, str]) -> None:
        self._folder = folder
        self._ports = ports
        self._process = subprocess.Popen(
            ["bash", "-euo", "pipefail"], cwd=folder, env=environment, stdin=subprocess.PIPE, start_new_session=True
        )

    def follow(self, block: Block) -> str:
        """Run a block, and return what it has written."""
        text = block.text
        for written, real in self._ports.items():
            text = text.replace(written, real)
        with tempfile.TemporaryDirectory() as name:
            script, output, ended = (Path(name) / part for part in ("block.sh", "output", "ended"))
            script.write_text(text, encoding="utf-8")
            assert self._process.stdin is not None
            self._process.stdin.write(f"source {script} > {output} 2>&1 < /dev/null\ntouch {ended}\n".encode())
            self._process.stdin.flush()
            deadline = time.monotonic() + _BLOCK_SECONDS
            while not ended.exists():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"{block} fails or does not end:\n{text}\n{output.read_text(errors='replace')}"
                    )
                time.sleep(0.05)
            return output.read_text(encoding="utf-8", errors="replace")

    def set(self, name: str, value: str) -> None:
        """Set a variable, as somebody types it in who knows its value."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}={shlex.quote(value)}\n".encode())

    def close(self) -> None:
        self._process.communicate(timeout=60)


@dataclass(frozen=True)
class Checkout:
    """:param folder: a copy of this checkout.

    :param shell: a terminal in it.
    :param stack: its stack, for calls of this process.
    """

    folder: Path
    shell: Shell
    stack: RunningStack

    def follow(self, page: str, *, under: str | None = None, number: int = 0) -> str:
        """Run one shell block of a page."""
        return self.shell.follow(blocks(page, "sh", under=under)[number])

    def sales(self) -> list[Sale]:
        """Return every sale of the shop."""
        lines = self.stack.stack.clickhouse.query(
            "SELECT toUnixTimestamp(sold_at), region, product, amount FROM shop_sales"
        ).splitlines()
        return [
            Sale(datetime.fromtimestamp(int(sold_at), UTC), region, product, Decimal(amount))
            for sold_at, region, product, amount in map(str.split, lines)
        ]

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        return self.stack.api.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]

    def wait_for_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Wait until all runs of a DAG have ended, and return them."""
        wait_until(
            lambda: {run["state"] for run in self.runs(dag_id)} <= {"success", "failed"} and self.runs(dag_id),
            240,
            f"the runs of {dag_id} have ended",
        )
        return self.runs(dag_id)


@contextmanager
def fresh_checkout() -> Iterator[Checkout]:
    """Copy what is checked out, with packages installed and ports set; nothing else is done, and nothing is left."""
    # Not below pytest's own folder, which no other user may enter: as root, the database runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="maxy-how-to-"))
    copy = folder / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (copy / ".venv").symlink_to(sys.prefix)
    # What is installed is this checkout's. Were the copy's files newer, its `make` would install the copy's own package
    # in the environment of everybody, who would be left without it when the copy is removed.
    for path in ("local/requirements.lock", "packages/embedded-clickhouse/pyproject.toml"):
        os.utime(copy / path, (0, 0))
    # Older than what is installed, as after a first `make`.
    os.utime(copy / "local" / "requirements.lock", (0, 0))
    ports = dict(zip(PORT_VARIABLES, free_ports(4), strict=True))
    (copy / ".env").write_text("".join(f"{name}={port}\n" for name, port in ports.items()), encoding="utf-8")
    foreign = ("AIRFLOW", "CLICKHOUSE_", "VALKEY_", "MAXY_", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    shell = Shell(copy, environment, {"127.0.0.1:8080": f"127.0.0.1:{ports['AIRFLOW_PORT']}"})
    try:
        yield Checkout(copy, shell, _stack_of(copy, environment))
    finally:
        shell.close()
        subprocess.run(["make", "clean"], cwd=copy, env=environment, check=True, capture_output=True, timeout=120)
        shutil.rmtree(folder, ignore_errors=True)


def _stack_of(folder: Path, environment: dict[str, str]) -> RunningStack:
    settings = read_settings(folder, environment)
    return RunningStack(
        settings,
        environment,
        Stack(settings, Progress(lambda line: None)),
        AirflowApi(settings.airflow_url, username=ADMIN_USER, password=settings.airflow_admin_password),
    )


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """A checkout in which the shop was installed as its page tells."""
    with fresh_checkout() as made:
        made.follow(SHOP, under="Try it", number=0)
        yield made


def test_the_shop_does_what_its_page_tells(checkout: Checkout) -> None:
    wait_for_dag(checkout.stack.api, "shop_tables")
    checkout.follow(SHOP, under="Try it", number=1)
    (made,) = checkout.wait_for_runs("shop_tables")
    assert (made["state"], made["logical_date"]) == ("success", None)

    for dag_id in ("shop_sales_hourly", "realtime_shop_sales"):
        wait_for_dag(checkout.stack.api, dag_id)
    checkout.follow(SHOP, under="Try it", number=2)
    runs = checkout.wait_for_runs("shop_sales_hourly")
    assert {run["state"] for run in runs} == {"success"}
    by_hand = next(run for run in runs if run["logical_date"] is None)
    hour = datetime.fromisoformat(by_hand["run_after"]).replace(minute=0, second=0, microsecond=0) - HOUR
    sales = checkout.sales()
    assert len(sales) == 7200
    expected = sums(((sale.region, sale.product), sale) for sale in sales if hour <= sale.sold_at < hour + HOUR)

    table = checkout.follow(SHOP, under="Try it", number=3)
    for (region, product), (orders, revenue) in expected.items():
        cells = rf"{hour:%Y-%m-%d %H:%M:%S} │ {region} +│ {product} +│ +{orders} │ +{revenue.normalize():f}0* │"
        assert re.search(cells, table), table
    with checkout.stack.stack.valkey.client() as valkey:
        assert len(list(valkey.scan_iter(f"shop:*:{hour:%Y-%m-%dT%H}:*"))) == len(expected)
        for (region, product), (orders, revenue) in expected.items():
            cached = valkey.hgetall(f"shop:{region}:{hour:%Y-%m-%dT%H}:{product}")
            assert (int(cached["orders"]), Decimal(cached["revenue"])) == (orders, revenue)


def test_its_loop_ticks_and_its_page_shows_it(checkout: Checkout) -> None:
    """After the DAGs were unpaused."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    expected = sums((sale.region, sale) for sale in checkout.sales() if sale.sold_at >= today)
    with checkout.stack.stack.valkey.client() as valkey:
        for region, (orders, revenue) in expected.items():
            key = f"stats:realtime:shop:{region}"
            wait_until(lambda key=key: valkey.exists(key), 60, f"the loop has written {key}")
            assert int(valkey.hget(key, "orders")) == orders
            assert Decimal(valkey.hget(key, "revenue")) == revenue

    # The page of the pages: first a token and a question to the package's own API, then the shop's page.
    api, own_page = blocks("docs/how-to-pages.md", "sh")
    assert json.loads(checkout.shell.follow(api))["openapi"]
    (history,) = blocks("docs/statistics/pages.md", "sh")
    assert len(json.loads(checkout.shell.follow(history))["days"]) == 30
    page = checkout.shell.follow(own_page)
    for region, (orders, _) in expected.items():
        assert f"<tr><th>{region}<td>{orders}<td>" in page


def test_a_statement_leads_back_to_its_task(checkout: Checkout) -> None:
    """After the hour was computed."""
    (statement,) = blocks("docs/how-to-operators.md", "sql", under="Query ids")
    # As the README has it: `python -m local sql "..."`.
    asked = replace(statement, language="sh", text=f".venv/bin/python -m local sql {shlex.quote(statement.text)}\n")
    assert "shop_sales_hourly.roll_up/0/" in checkout.shell.follow(asked)


def test_production_s_backfill_runs_from_anywhere(checkout: Checkout) -> None:
    # The page has it unpaused before, by docker, and the password in .env.
    wait_for_dag(checkout.stack.api, "device_statistic_daily")
    checkout.stack.api.request("PATCH", "/dags/device_statistic_daily", body={"is_paused": False})
    checkout.shell.set("AIRFLOW_ADMIN_PASSWORD", checkout.stack.settings.airflow_admin_password)
    (block,) = [block for block in blocks("docs/production.md", "sh", under="Every day") if "docker" not in block.text]
    assert "2 of 2 days done" in checkout.shell.follow(block)


def test_the_commands_of_the_embedded_stack(checkout: Checkout) -> None:
    """Last, for they end with its end."""
    (block,) = blocks("docs/how-to-embedded-stack.md", "sh")
    output = checkout.shell.follow(block)
    assert "already running" in output
    assert "airflow-dag-processor" in output
    assert all(pid is None for pid in checkout.stack.pids().values())
