"""Groups of hashes: who may write them, what may be in their place, and large ones."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxy.valkey import generations
from maxy.valkey.groups import GroupReader
from maxy.valkey.hashes import (
    ForeignKeys,
    GroupRefusedError,
    HashPublisher,
    LargeGroups,
    Layout,
    Publication,
    Unit,
    Version,
    Writer,
)
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.one_step import MOST_KEYS
from tests.integration.valkey.scripts import after_script, run_by
from tests.realtime_support import examples
from tests.support import data_keys, hashes
from tests.valkey_replies import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support import Valkey

LARGE = MOST_KEYS + 500


def group(client: redis.Redis, index: str = "index:shop", template: str = "shop:{region}", **options: Any) -> Any:
    given: dict[str, Any] = {"writer": Writer("shop.cache"), **options}
    return HashPublisher(client, index, template=KeyTemplate(template), **given)


def publish(
    publisher: HashPublisher,
    keys: Iterable[str],
    value: str = "1",
    *,
    version: Version | None = None,
    expire: int = 100,
) -> Publication:
    names = list(keys)
    return publisher.publish(
        names, ["v"], [[value] * len(names)], version=version or publisher.state(), expire_seconds=expire
    )


def rows(keys: Iterable[str], value: str) -> dict[str, dict[str, str]]:
    return {key: {"v": value} for key in keys}


def dump(client: redis.Redis) -> dict[str, Any]:
    """Return all that is stored, to see that nothing has changed."""
    return {key: client.dump(key) for key in client.scan_iter()}


class TestOwners:
    @pytest.mark.parametrize(
        "stranger",
        [Writer("other_dag.cache"), Writer("shop.other_task"), Writer("SHOP.cache"), Writer("shop.cache", 0)],
    )
    def test_another_writer_is_refused_by_both_names_before_anything_changes(
        self, valkey: Valkey, stranger: Writer
    ) -> None:
        publish(group(valkey), ["shop:kr", "shop:us"])
        before = dump(valkey)
        with pytest.raises(GroupRefusedError, match=rf"belongs to shop.cache, and {re.escape(str(stranger))} may not"):
            group(valkey, writer=stranger).state()
        with pytest.raises(GroupRefusedError, match="index:shop: the group belongs to"):
            publish(group(valkey, writer=stranger), ["shop:jp"], version=Version(10**30))
        assert dump(valkey) == before

    def test_instances_of_one_mapped_task_are_two_writers_in_one_run_and_one_in_another(self, valkey: Valkey) -> None:
        publish(group(valkey, writer=Writer("shop.cache", 0, "monday")), ["shop:kr"])
        with pytest.raises(GroupRefusedError, match=r"to shop.cache with map index 0, and shop.cache with map index 1"):
            publish(group(valkey, writer=Writer("shop.cache", 1, "monday")), ["shop:us"])
        # A region more, and the same keys have another map index.
        assert publish(group(valkey, writer=Writer("shop.cache", 1, "tuesday")), ["shop:kr"]).written == 1
        with pytest.raises(GroupRefusedError, match=r"with map index 1, and shop.cache with map index 0"):
            publish(group(valkey, writer=Writer("shop.cache", 0, "tuesday")), ["shop:kr"])

    def test_the_owner_outlives_an_empty_group_and_the_keys(self, valkey: Valkey) -> None:
        publish(group(valkey), ["shop:kr"], expire=5)
        publish(group(valkey), [], expire=5)
        with pytest.raises(GroupRefusedError, match=r"belongs to shop.cache"):
            publish(group(valkey, writer=Writer("other.task")), ["shop:us"])
        assert valkey.ttl("index:shop:group") > 20 * 86_400
        publish(group(valkey), ["shop:kr"], expire=60 * 86_400)
        assert valkey.ttl("index:shop:group") > 59 * 86_400

    def test_the_command_in_the_message_hands_the_group_over(self, valkey: Valkey) -> None:
        index = "index of 'a b'\n$x"
        publish(group(valkey, index), ["shop:kr"])
        with pytest.raises(GroupRefusedError) as refused:
            group(valkey, index, writer=Writer("other.task")).state()
        command = str(refused.value).partition("valkey-cli ")[2]
        valkey.execute_command(*shlex.split(command))
        assert publish(group(valkey, index, writer=Writer("other.task")), ["shop:us"]).removed == 1

    def test_of_two_first_writers_at_once_one_is_refused(self, valkey: Valkey) -> None:
        """Both have looked before either has written."""
        first, second = group(valkey, writer=Writer("a.a")), group(valkey, writer=Writer("b.b"))
        states = first.state(), second.state()
        publish(first, ["shop:kr"], version=states[0])
        with pytest.raises(GroupRefusedError, match=r"belongs to a.a, and b.b"):
            publish(second, ["shop:us"], version=states[1])
        assert hashes(valkey).keys() == {"shop:kr"}

    def test_a_group_of_before_records_is_adopted_by_its_first_writer(self, valkey: Valkey) -> None:
        valkey.zadd("index:shop", {"shop:kr": 7, "shop:us": 7})
        valkey.expire("index:shop", 100)
        for key in ("shop:kr", "shop:us"):
            valkey.hset(key, "v", "old")
        assert publish(group(valkey), ["shop:kr"]).removed == 1
        with pytest.raises(GroupRefusedError, match=r"belongs to shop.cache"):
            group(valkey, writer=Writer("other.task")).state()


class TestVersions:
    def run(self, valkey: Valkey, number: int, *keys: str, unit: Unit = Unit.NUMBER) -> Publication:
        return publish(group(valkey), keys, str(number), version=Version(number, unit))

    def test_an_older_result_never_wins_whichever_of_the_two_is_empty(self, valkey: Valkey) -> None:
        self.run(valkey, 10, "shop:kr")
        assert self.run(valkey, 9).superseded_by == 10
        assert hashes(valkey) == {"shop:kr": {"v": "10"}}
        assert self.run(valkey, 11).removed == 1
        assert self.run(valkey, 9, "shop:kr").superseded_by == 11
        assert self.run(valkey, 10).superseded_by == 11
        assert hashes(valkey) == {}
        assert self.run(valkey, 11, "shop:us").written == 1

    @pytest.mark.parametrize("number", [2**53, 2**63, 10**40, -(10**20)])
    def test_versions_are_compared_with_all_their_digits(self, valkey: Valkey, number: int) -> None:
        self.run(valkey, number + 1, "shop:kr")
        assert self.run(valkey, number, "shop:kr").superseded_by == number + 1
        assert self.run(valkey, number + 1, "shop:kr").written == 1
        assert self.run(valkey, number + 2, "shop:kr").written == 1

    @pytest.mark.parametrize("first", Unit)
    @pytest.mark.parametrize("second", Unit)
    @pytest.mark.parametrize("is_empty", [False, True])
    def test_a_change_of_unit_is_an_error_that_names_both_and_the_command_that_resets(
        self, valkey: Valkey, first: Unit, second: Unit, is_empty: bool
    ) -> None:
        def run(unit: Unit, *keys: str) -> Publication:
            version = None if unit is Unit.READING else Version(5, unit)
            return publish(group(valkey), keys, version=version)

        run(first, *([] if is_empty else ["shop:kr"]))
        if first is second:
            assert run(second, "shop:us").written == 1
            return
        before = dump(valkey)
        with pytest.raises(
            GroupRefusedError, match=f"ordered by {first} so far .*, and this one by {second}"
        ) as refused:
            run(second, "shop:us")
        assert dump(valkey) == before
        valkey.execute_command(*shlex.split(str(refused.value).partition("valkey-cli ")[2]))
        assert run(second, "shop:us").written == 1
        assert hashes(valkey).keys() == {"shop:us"}

    def test_the_times_of_before_records_are_understood(self, valkey: Valkey) -> None:
        valkey.set("index:shop:emptied", 1_795_186_800_000, ex=100)
        ns = Unit.NANOSECONDS
        assert (
            self.run(valkey, 1_795_186_799_999_999_999, "shop:kr", unit=ns).superseded_by == 1_795_186_800_000 * 10**6
        )
        assert self.run(valkey, 1_795_186_800_000_000_000, "shop:kr", unit=ns).written == 1
        assert not valkey.exists("index:shop:emptied")

    def test_a_lower_number_than_a_version_whose_unit_nobody_noted_is_an_error(self, valkey: Valkey) -> None:
        valkey.zadd("index:shop", {"shop:kr": 1_795_186_800_000})
        valkey.expire("index:shop", 100)
        with pytest.raises(GroupRefusedError, match="version 1795186800000 by a former release") as refused:
            self.run(valkey, 7, "shop:kr")
        valkey.execute_command(*shlex.split(str(refused.value).partition("valkey-cli ")[2]))
        assert self.run(valkey, 7, "shop:kr").written == 1


STRANGERS: dict[str, Callable[[redis.Redis, str], Any]] = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x", "y"),
    "set": lambda client, key: client.sadd(key, "shop:kr"),
    "hash": lambda client, key: client.hset(key, "shop:kr", "1"),
    "stream": lambda client, key: client.xadd(key, {"x": 1}),
}
# What may be in the place of an index, and looks like one more or less.
LEADERBOARDS: dict[str, Callable[[redis.Redis], Any]] = {
    "of other members": lambda client: client.zadd("index:shop", {"player1": 1, "shop:kr": 1}),
    "of other members that expires": lambda client: (
        client.zadd("index:shop", {"player1": 1, "shop:kr": 1}),
        client.expire("index:shop", 100),
    ),
    "of different scores": lambda client: (
        client.zadd("index:shop", {"shop:kr": 1, "shop:us": 2}),
        client.expire("index:shop", 100),
    ),
    "of one member": lambda client: client.zadd("index:shop", {"shop:kr": 3}),
    "of members with an encoding that is none": lambda client: (
        client.zadd("index:shop", {"shop:50%": 1, "shop:kr": 1}),
        client.expire("index:shop", 100),
    ),
}


class TestForeignKeys:
    @pytest.mark.parametrize(
        ("kind", "place"),
        [
            (kind, place)
            for kind in STRANGERS
            for place in ("index:shop", "index:shop:group", "shop:us")
            # A hash that nobody owns is adopted.
            if (kind, place) != ("hash", "shop:us")
        ],
    )
    def test_another_type_is_refused_naming_it_before_anything_changes(
        self, valkey: Valkey, kind: str, place: str
    ) -> None:
        STRANGERS[kind](valkey, place)
        before = dump(valkey)
        with pytest.raises(GroupRefusedError, match=rf"{place} .*{kind}"):
            publish(group(valkey), ["shop:kr", "shop:us"])
        assert dump(valkey) == before

    @pytest.mark.parametrize("put", LEADERBOARDS.values(), ids=LEADERBOARDS.keys())
    def test_a_sorted_set_that_is_no_index_is_refused_and_its_members_keys_stay(
        self, valkey: Valkey, put: Callable[[redis.Redis], Any]
    ) -> None:
        put(valkey)
        valkey.hset("player1", "name", "x")
        valkey.hset("shop:us", "v", "theirs")
        before = dump(valkey)
        for keys in (["shop:jp"], []):
            with pytest.raises(GroupRefusedError, match=r"index:shop .*such as"):
                publish(group(valkey), keys)
        assert dump(valkey) == before
        # On purpose: the set goes, the keys it names do not.
        done = publish(group(valkey, foreign_keys=ForeignKeys.REPLACE), ["shop:jp"])
        assert (done.written, done.removed, done.replaced_names) == (1, 0, ("index:shop",))
        assert data_keys(valkey) == ["index:shop", "player1", "shop:jp", "shop:us"]

    def test_a_changed_template_does_not_remove_what_the_former_one_has_made(self, valkey: Valkey) -> None:
        """As of a task that runs hourly, whose keys have the hour in them and whose index has not."""
        publish(group(valkey, template="shop:04:{region}"), ["shop:04:kr", "shop:04:us"])
        with pytest.raises(
            GroupRefusedError, match=r"template 'shop:05:\{region\}' cannot have made, such as shop:04:"
        ):
            publish(group(valkey, template="shop:05:{region}"), ["shop:05:kr"])
        assert hashes(valkey).keys() == {"shop:04:kr", "shop:04:us"}
        # What both can make is the group's own.
        publish(group(valkey, template="shop:{hour}:{region}"), ["shop:05:kr"])
        assert hashes(valkey).keys() == {"shop:05:kr"}

    def test_a_key_of_another_group_is_refused_by_both_names(self, valkey: Valkey) -> None:
        publish(group(valkey, "index:one", writer=Writer("one.task")), ["shop:kr", "shop:us"])
        publish(group(valkey, "index:none", template="none:{x}", writer=Writer("none.task")), ["none:1"])
        for options in ({}, {"foreign_keys": ForeignKeys.REPLACE}, {"layout": Layout.GENERATIONS}):
            other = group(valkey, "index:two", writer=Writer("two.task"), **options)
            if "layout" in options:
                # A generation's keys have other names.
                assert publish(other, ["shop:us"]).written == 1
                continue
            before = dump(valkey)
            with pytest.raises(
                GroupRefusedError, match=r"index:two: key shop:us belongs to the group index:one of one.ta"
            ):
                publish(other, ["shop:jp", "shop:us"])
            assert dump(valkey) == before

    @pytest.mark.parametrize("key", ["index:one", "index:one:group"])
    def test_what_another_group_is_kept_by_is_refused(self, valkey: Valkey, key: str) -> None:
        publish(group(valkey, "index:one"), ["shop:kr"])
        other = group(valkey, "index:two", template="{x}:{y}" if key == "index:one" else "{x}:{y}:{z}",
                      foreign_keys=ForeignKeys.REPLACE)  # fmt: skip
        with pytest.raises(GroupRefusedError, match=f"key {key} belongs to the group index:one of shop.cache"):
            publish(other, [key])

    def test_a_key_of_another_groups_generation_is_refused(self, valkey: Valkey) -> None:
        publish(group(valkey, "index:one", layout=Layout.GENERATIONS), ["shop:kr"])
        (key,) = (key for key in valkey.scan_iter(match="shop:kr@*"))
        with pytest.raises(GroupRefusedError, match="belongs to the group index:one"):
            publish(group(valkey, "index:two"), [key])

    def test_a_hash_that_nobody_owns_is_adopted(self, valkey: Valkey) -> None:
        valkey.hset("shop:kr", mapping={"v": "old", "w": "old"})
        assert publish(group(valkey), ["shop:kr"]).replaced == 0
        assert hashes(valkey) == {"shop:kr": {"v": "1"}}

    def test_a_lost_index_is_made_anew(self, valkey: Valkey) -> None:
        publish(group(valkey), ["shop:kr", "shop:us"])
        valkey.delete("index:shop")
        publish(group(valkey), ["shop:kr"])
        assert valkey.zrange("index:shop", 0, -1) == ["shop:kr"]

    def test_a_registry_of_another_type_is_refused(self, valkey: Valkey) -> None:
        valkey.set("maxy:groups", "x")
        with pytest.raises(GroupRefusedError, match=r"maxy:groups .* holds a string"):
            publish(group(valkey), ["shop:kr"])

    def test_groups_whose_record_has_expired_leave_the_registry(self, valkey: Valkey) -> None:
        for number in range(30):
            publish(group(valkey, f"index:{number}", template=f"s{number}:{{x}}"), [f"s{number}:1"])
        for number in range(29):
            valkey.delete(f"index:{number}:group")
        for _ in range(40):
            publish(group(valkey, "index:29", template="s29:{x}"), ["s29:1"])
        assert valkey.hkeys("maxy:groups") == ["index:29"]
        assert valkey.ttl("maxy:groups") > 0


def names(count: int, kind: str = "") -> list[str]:
    return [f"shop:{kind}{number}" for number in range(count)]


class TestLargeGroups:
    def test_more_keys_than_one_step_takes_are_refused_with_advice(self, valkey: Valkey) -> None:
        assert publish(group(valkey), names(MOST_KEYS)).written == MOST_KEYS
        before = dump(valkey)
        with pytest.raises(GroupRefusedError, match=f'{LARGE} keys .* layout="generations" .* large_groups="slices"'):
            publish(group(valkey), names(LARGE))
        assert dump(valkey) == before

    def test_a_small_result_over_a_large_group_is_large_too(self, valkey: Valkey) -> None:
        publish(group(valkey, large_groups=LargeGroups.SLICES), names(LARGE))
        for few in (0, 3):
            with pytest.raises(GroupRefusedError, match="too many for one step"):
                publish(group(valkey), names(few))
        assert publish(group(valkey, large_groups=LargeGroups.SLICES), names(3)).removed == LARGE - 3
        assert data_keys(valkey) == ["index:shop", *names(3)]
        assert publish(group(valkey), names(0)).removed == 3

    @pytest.mark.parametrize("options", [{"large_groups": LargeGroups.SLICES}, {"layout": Layout.GENERATIONS}])
    def test_no_command_is_given_more_than_some_hundred_keys(self, valkey: Valkey, options: dict[str, Any]) -> None:
        publisher = group(valkey, batch_size=10**9, **options)
        run = publisher._scripts.run
        given: list[int] = []

        def counted(script: str, arguments: Any, *, keys: Any = ()) -> Any:
            given.append(len(arguments))
            return run(script, arguments, keys=keys)

        run_by(publisher, counted)
        publish(publisher, names(LARGE))
        publish(publisher, names(LARGE, "other"))
        assert max(given) < 1000
        assert len(hashes(valkey, "shop:other*")) == LARGE

    def test_slices_leave_exactly_the_result_and_count_what_was_removed_and_replaced(self, valkey: Valkey) -> None:
        publisher = group(valkey, large_groups=LargeGroups.SLICES)
        publish(publisher, names(LARGE), "old")
        valkey.delete("shop:7")
        valkey.set("shop:7", "somebody's")
        done = publish(publisher, names(LARGE // 2) + names(LARGE, "new"), "new")
        assert (done.written, done.removed, done.replaced) == (LARGE // 2 + LARGE, LARGE - LARGE // 2, 1)
        assert done.replaced_names == ("shop:7",)
        found = hashes(valkey, "shop:*")
        assert found == rows(names(LARGE // 2) + names(LARGE, "new"), "new")
        assert set(valkey.zrange("index:shop", 0, -1)) == found.keys()
        assert {0 < valkey.ttl(key) <= 100 for key in ["index:shop", "shop:7", "shop:new9"]} == {True}
        assert "running" not in valkey.hgetall("index:shop:group")

    @pytest.mark.parametrize("script", ["begin_slices", "write_slice", "remove_slice"])
    @pytest.mark.parametrize("version", [None, Version(5)])
    def test_a_writer_that_dies_amid_slices_is_completed_by_the_next_run(
        self, valkey: Valkey, script: str, version: Version | None
    ) -> None:
        publish(group(valkey, large_groups=LargeGroups.SLICES), names(LARGE), "0", version=version)
        dying = group(valkey, large_groups=LargeGroups.SLICES)
        die_after(dying, script)
        with pytest.raises(redis.ConnectionError):
            publish(dying, names(LARGE, "b"), "1", version=version)
        assert "running" in valkey.hgetall("index:shop:group")
        done = publish(group(valkey, large_groups=LargeGroups.SLICES), names(LARGE, "b"), "2", version=version)
        assert done.written == LARGE
        assert hashes(valkey) == rows(names(LARGE, "b"), "2")
        assert data_keys(valkey) == sorted(["index:shop", *names(LARGE, "b")])

    def test_an_older_result_does_not_complete_a_newer_one(self, valkey: Valkey) -> None:
        dying = group(valkey, large_groups=LargeGroups.SLICES)
        die_after(dying, "write_slice")
        with pytest.raises(redis.ConnectionError):
            publish(dying, names(LARGE), version=Version(5))
        older = group(valkey, large_groups=LargeGroups.SLICES)
        assert publish(older, names(LARGE), version=Version(4)).superseded_by == 5
        # One of a few keys goes over it in one step, once the newer one is no longer in the way.
        assert publish(older, names(2), version=Version(6)).written == 2
        assert data_keys(valkey) == ["index:shop", *names(2)]

    def test_of_two_writers_at_once_the_one_that_has_begun_last_goes_on(self, valkey: Valkey) -> None:
        first, second = (group(valkey, large_groups=LargeGroups.SLICES) for _ in range(2))
        done: list[Publication] = []

        def overtake() -> None:
            if not done:
                done.append(publish(second, names(LARGE, "b"), "second"))

        after(first, "write_slice", overtake)
        overtaken = publish(first, names(LARGE), "first")
        assert done[0].written == LARGE
        assert overtaken.was_overtaken
        assert overtaken.superseded_by is not None
        assert hashes(valkey) == rows(names(LARGE, "b"), "second")
        assert data_keys(valkey) == sorted(["index:shop", *names(LARGE, "b")])

    def test_what_somebody_writes_between_the_check_and_the_slice_is_not_written_over(self, valkey: Valkey) -> None:
        publisher = group(valkey, large_groups=LargeGroups.SLICES)
        after(publisher, "begin_slices", lambda: valkey.hset(f"shop:{LARGE - 1}", "v", "theirs"))
        with pytest.raises(GroupRefusedError, match=f"key shop:{LARGE - 1} is there"):
            publish(publisher, names(LARGE))
        assert valkey.hgetall(f"shop:{LARGE - 1}") == {"v": "theirs"}


def after(publisher: HashPublisher, name: str, act: Callable[[], Any]) -> None:
    """Have something happen after a script of a publisher has run."""
    after_script(publisher, name, lambda _: act())


def die_after(publisher: HashPublisher, name: str) -> None:
    def die() -> None:
        raise redis.ConnectionError("the writer dies here")

    after(publisher, name, die)


class TestGenerations:
    def publisher(self, valkey: Valkey, **options: Any) -> Any:
        return group(valkey, layout=Layout.GENERATIONS, **options)

    def test_readers_are_led_from_one_whole_generation_to_the_next(self, valkey: Valkey) -> None:
        reader = GroupReader(valkey, "index:shop")
        assert reader.read("shop:1") == {}
        assert publish(self.publisher(valkey), names(LARGE), "1").written == LARGE
        assert reader.read_many(names(LARGE)) == rows(names(LARGE), "1")
        done = publish(self.publisher(valkey), [*names(10), "shop:x"], "2")
        assert (done.written, done.removed) == (11, LARGE - 10)
        assert reader.read_many(["shop:0", "shop:x", "shop:10"]) == {
            "shop:0": {"v": "2"},
            "shop:x": {"v": "2"},
            "shop:10": {},
        }
        assert sorted(reader.keys()) == sorted([*names(10), "shop:x"])
        # As another language reads.
        generation = as_text(valkey.hget("index:shop:group", "generation"))
        assert valkey.hgetall(f"shop:x@{generation}") == {"v": "2"}
        assert valkey.zcard(f"index:shop@{generation}") == 11

    def test_the_former_generation_goes_after_its_readers_have_finished(self, valkey: Valkey) -> None:
        publish(self.publisher(valkey), names(1000), "1", expire=10_000)
        former = as_text(valkey.hget("index:shop:group", "generation"))
        publish(self.publisher(valkey), names(3), "2", expire=10_000)
        members = [as_text(member) for member in valkey.zrange(f"index:shop@{former}", 0, -1)]
        assert min(valkey.pttl(f"{key}@{former}") for key in members) > 50_000
        ends = [valkey.pexpiretime(f"{key}@{former}") for key in [*members, "index:shop"]]
        # One after the other, 20,000 a second.
        assert ends == sorted(ends)
        assert ends[-1] - ends[0] >= 45
        assert valkey.hgetall("shop:3@" + former) == {"v": "1"}
        assert not [field for field in valkey.hgetall("index:shop:group") if ":" in as_text(field)]

    def test_an_empty_result_is_a_generation_too(self, valkey: Valkey) -> None:
        publish(self.publisher(valkey), ["shop:kr"])
        assert publish(self.publisher(valkey), []).removed == 1
        reader = GroupReader(valkey, "index:shop")
        assert reader.read("shop:kr") == {}
        assert list(reader.keys()) == []
        assert publish(self.publisher(valkey), ["shop:kr"], "2").written == 1
        assert reader.read("shop:kr") == {"v": "2"}

    @pytest.mark.parametrize("script", ["begin_generation", "write_slice", "switch_generation", "retire_slice"])
    def test_a_writer_that_dies_leaves_a_whole_group_and_what_expires(self, valkey: Valkey, script: str) -> None:
        publish(self.publisher(valkey), names(600), "1", expire=10_000)
        dying = self.publisher(valkey)
        die_after(dying, script)
        with pytest.raises(redis.ConnectionError):
            publish(dying, names(600), "2", expire=10_000)
        found = GroupReader(valkey, "index:shop").read_many(names(600))
        assert found == rows(names(600), "1" if "switch" not in script and "retire" not in script else "2")
        publish(self.publisher(valkey), names(600), "3", expire=10_000)
        current = as_text(valkey.hget("index:shop:group", "generation"))
        others = [key for key in valkey.scan_iter(match="*@*") if not key.endswith(f"@{current}")]
        assert others
        assert max(valkey.pttl(key) for key in others) < 61_000
        assert GroupReader(valkey, "index:shop").read_many(names(600)) == rows(names(600), "3")

    def test_versions_and_the_order_of_reading_hold(self, valkey: Valkey) -> None:
        early = self.publisher(valkey).state()
        publish(self.publisher(valkey), ["shop:kr"], "1")
        assert publish(self.publisher(valkey), ["shop:kr"], "0", version=early).superseded_by is not None
        valkey.flushall()
        publish(self.publisher(valkey), ["shop:kr"], "1", version=Version(5))
        assert publish(self.publisher(valkey), [], version=Version(4)).superseded_by == 5
        assert GroupReader(valkey, "index:shop").read("shop:kr") == {"v": "1"}

    def test_a_generation_that_another_writer_has_overtaken_is_not_published(self, valkey: Valkey) -> None:
        slow = self.publisher(valkey)
        state = slow.state()
        done: list[Publication] = []

        def overtake() -> None:
            if not done:
                done.append(publish(self.publisher(valkey), ["shop:kr"], "quick"))

        after(slow, "write_slice", overtake)
        assert publish(slow, names(600), "slow", version=state).superseded_by is not None
        assert GroupReader(valkey, "index:shop").read_many(["shop:kr", "shop:1"]) == {
            "shop:kr": {"v": "quick"},
            "shop:1": {},
        }
        assert all(valkey.pttl(key) < 61_000 for key in valkey.scan_iter(match="shop:1@*"))

    def test_a_group_can_change_its_layout_and_back(self, valkey: Valkey) -> None:
        reader = GroupReader(valkey, "index:shop")
        publish(group(valkey), ["shop:kr", "shop:us"], "plain", expire=10_000)
        assert reader.read("shop:kr") == {"v": "plain"}
        assert publish(self.publisher(valkey), ["shop:kr"], "generation").removed == 1
        assert reader.read_many(["shop:kr", "shop:us"]) == {"shop:kr": {"v": "generation"}, "shop:us": {}}
        assert 0 < valkey.pttl("shop:us") < 61_000
        assert 0 < valkey.pttl("index:shop") < 61_000
        done = publish(group(valkey), ["shop:kr", "shop:jp"], "plain again", expire=10_000)
        assert done.written == 2
        assert reader.read_many(["shop:kr", "shop:us"]) == {"shop:kr": {"v": "plain again"}, "shop:us": {}}
        assert valkey.ttl("shop:kr") > 9000
        assert sorted(reader.keys()) == ["shop:jp", "shop:kr"]
        publish(self.publisher(valkey), names(LARGE), "large")
        publish(group(valkey, large_groups=LargeGroups.SLICES), names(LARGE), "large and plain")
        assert reader.read("shop:5") == {"v": "large and plain"}
        assert all(valkey.pttl(key) < 62_000 for key in valkey.scan_iter(match="shop:*@*"))

    def test_keys_that_would_expire_before_the_last_is_written_are_an_error(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = iter(range(0, 1000, 60))
        monkeypatch.setattr(generations, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        with pytest.raises(GroupRefusedError, match="expire= is too short"):
            publish(self.publisher(valkey), ["shop:kr"], expire=30)
        assert GroupReader(valkey, "index:shop").read("shop:kr") == {}

    def test_readers_see_one_generation_at_any_moment(self, valkey: Valkey, valkey_server: Any) -> None:
        keys = names(700)
        seen: set[frozenset[str]] = set()
        stop = threading.Event()

        def read() -> None:
            with redis.Redis(port=valkey_server.port) as client:
                reader = GroupReader(client, "index:shop")
                while not stop.is_set():
                    seen.add(frozenset(values.get("v", "none") for values in reader.read_many(keys).values()))

        publish(self.publisher(valkey), keys, "0")
        thread = threading.Thread(target=read)
        thread.start()
        deadline = time.monotonic() + 60
        number = 0
        while (len(seen) < 5 or number < 10) and time.monotonic() < deadline:
            number += 1
            publish(self.publisher(valkey), keys, str(number))
        stop.set()
        thread.join()
        assert len(seen) >= 5
        assert {len(values) for values in seen} == {1}
        assert frozenset(["none"]) not in seen

    def test_a_legacy_group_becomes_generations_with_its_version(self, valkey: Valkey) -> None:
        valkey.zadd("index:shop", {"shop:kr": 1_795_186_800_000})
        valkey.hset("shop:kr", "v", "old")
        valkey.expire("index:shop", 100)
        version = Version(1_795_186_800_000_000_000 - 1, Unit.NANOSECONDS)
        dying = self.publisher(valkey)
        die_after(dying, "begin_generation")
        with pytest.raises(redis.ConnectionError):
            publish(dying, ["shop:kr"], version=Version(version.number + 1, Unit.NANOSECONDS))
        assert publish(self.publisher(valkey), ["shop:kr"], version=version).superseded_by is not None
        assert publish(self.publisher(valkey), ["shop:kr"], "2").written == 1
        assert GroupReader(valkey, "index:shop").read("shop:kr") == {"v": "2"}


def test_an_answer_that_is_lost_is_not_asked_for_twice(valkey: Valkey) -> None:
    """The client sends a command again if its answer does not come: the second must do nothing else."""
    for options, script in (
        ({}, "publish_hashes"),
        ({"large_groups": LargeGroups.SLICES}, "begin_slices"),
        ({"large_groups": LargeGroups.SLICES}, "write_slice"),
        ({"large_groups": LargeGroups.SLICES}, "end_slices"),
        ({"layout": Layout.GENERATIONS}, "begin_generation"),
        ({"layout": Layout.GENERATIONS}, "write_slice"),
        ({"layout": Layout.GENERATIONS}, "switch_generation"),
        ({"layout": Layout.GENERATIONS}, "retire_slice"),
    ):
        valkey.flushall()
        count = 20 if script == "publish_hashes" else LARGE
        publish(group(valkey, **options), names(count), "1")
        publisher = group(valkey, **options)
        run = publisher._scripts.run

        def twice(name: str, arguments: Any, *, keys: Any = (), run: Any = run, script: str = script) -> Any:
            if name == script:
                run(name, arguments, keys=keys)
            return run(name, arguments, keys=keys)

        run_by(publisher, twice)
        done = publish(publisher, names(count - 5), "2")
        assert (done.written, done.removed, done.superseded_by) == (count - 5, 5, None), script
        found = GroupReader(valkey, "index:shop").read_many(names(count))
        assert found == {**{key: {} for key in names(count)}, **rows(names(count - 5), "2")}


def test_the_registry_says_how_a_groups_keys_are_made(valkey: Valkey) -> None:
    HashPublisher(valkey, "{p}index", template=KeyTemplate("s:{a}", prefix="{p}"), writer=Writer("d.t")).publish(
        ["{p}s:1"], ["v"], [["1"]], version=Version(1), expire_seconds=10
    )
    assert json.loads(as_text(valkey.hget("maxy:groups", "{p}index"))) == ["{p}", "s:{a}"]


WAYS: list[dict[str, Any]] = [{}, {"large_groups": LargeGroups.SLICES}, {"layout": Layout.GENERATIONS}]
SOME = [f"shop:{letter}" for letter in "abcdefg"]


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(WAYS), st.sets(st.sampled_from(SOME)), st.integers(0, 4), st.booleans(), st.integers(0, 6)
        ),
        max_size=8,
    )
)
def test_any_sequence_of_ways_versions_and_deaths_leaves_the_newest_whole(
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    sequence: list[tuple[dict[str, Any], set[str], int, bool, int]],
) -> None:
    """Readers see the newest result of the highest version; after a death, once the same result is published again."""
    valkey.flushall()
    # More than two are many.
    monkeypatch.setattr("maxy.valkey.hashes.MOST_KEYS", 2)
    reader = GroupReader(valkey, "index:shop")
    expected: dict[str, dict[str, str]] = {}
    highest = -1
    for number, (options, keys, version, dies, after_scripts) in enumerate(sequence):
        # The first two ways refuse what is large; a small one over a large one is large as well.
        way = {"large_groups": LargeGroups.SLICES, **options}
        if dies:
            dying = group(valkey, batch_size=2, **way)
            die_after_scripts(dying, after_scripts)
            # As a retry does: the same result, once more.
            with contextlib.suppress(redis.ConnectionError):
                publish(dying, sorted(keys), str(number), version=Version(version))
        publish(group(valkey, batch_size=2, **way), sorted(keys), str(number), version=Version(version))
        if version >= highest:
            expected, highest = rows(keys, str(number)), version
        found = reader.read_many(SOME)
        assert {key: values for key, values in found.items() if values} == expected
        assert sorted(reader.keys()) == sorted(expected)
    # Nothing lives for ever.
    assert {valkey.ttl(key) > 0 for key in valkey.scan_iter()} <= {True}


def die_after_scripts(publisher: HashPublisher, count: int) -> None:
    """Have a publisher's client break off after so many scripts."""
    run = publisher._scripts.run
    done: list[str] = []

    def run_or_die(script: str, arguments: Any, *, keys: Any = ()) -> Any:
        answer = run(script, arguments, keys=keys)
        done.append(script)
        if len(done) > count:
            raise redis.ConnectionError("the writer dies here")
        return answer

    run_by(publisher, run_or_die)
