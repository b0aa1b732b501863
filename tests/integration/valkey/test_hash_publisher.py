from __future__ import annotations

import threading
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxy.valkey.hashes import (
    ForeignKeys,
    GroupState,
    HashPublisher,
    Publication,
    Version,
    Writer,
)
from maxy.valkey.keys import KeyTemplate
from tests.integration.valkey.scripts import after_script
from tests.support import data_keys, hashes
from tests.valkey_replies import as_number
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Valkey

INDEX = "index:g"


def publisher_of(client: redis.Redis, **options: Any) -> HashPublisher:
    """Return a publisher of keys such as k:1."""
    given: dict[str, Any] = {"template": KeyTemplate("k:{number}"), "writer": Writer("dag.task"), "batch_size": 2}
    return HashPublisher(client, options.pop("index", INDEX), **{**given, **options})


def publish(
    client: redis.Redis, rows: dict[str, dict[str, str]], *, version: int | Version | GroupState = 1, **options: Any
) -> Publication:
    """Publish rows given as key -> field -> value; a version that is a number is one of the data."""
    fields = sorted({field for row in rows.values() for field in row}) or ["a"]
    expire_seconds = options.pop("expire_seconds", 100)
    publisher = publisher_of(client, **options)
    return publisher.publish(
        list(rows),
        fields,
        [[row.get(field) for row in rows.values()] for field in fields],
        version=Version(version) if isinstance(version, int) else version,
        expire_seconds=expire_seconds,
    )


def test_writes_every_key_with_its_fields_and_expiry(valkey: Valkey) -> None:
    rows = {"k:1": {"a": "1", "b": "한국 [x] ' \""}, "k:2": {"a": "2"}, "k:3": {"a": "", "b": "3"}}
    assert publish(valkey, rows) == Publication(written=3, removed=0)
    assert hashes(valkey) == rows
    assert {0 < valkey.ttl(key) <= 100 for key in [*rows, INDEX]} == {True}
    assert data_keys(valkey) == sorted([*rows, INDEX])


def test_a_field_that_is_gone_is_removed_from_its_key(valkey: Valkey) -> None:
    publish(valkey, {"k:0": {"a": "1", "b": "2"}})
    publish(valkey, {"k:0": {"a": "3"}})
    assert hashes(valkey) == {"k:0": {"a": "3"}}


def test_keys_that_are_gone_are_removed_and_others_left_alone(valkey: Valkey) -> None:
    valkey.hset("stranger", "a", "0")
    publish(valkey, {"k:1": {"a": "1"}, "k:2": {"a": "2"}})
    assert publish(valkey, {"k:2": {"a": "2"}}) == Publication(written=1, removed=1)
    assert hashes(valkey) == {"k:2": {"a": "2"}, "stranger": {"a": "0"}}


def test_an_empty_group_removes_all_its_keys(valkey: Valkey) -> None:
    publish(valkey, {"k:1": {"a": "1"}, "k:2": {"a": "2"}})
    assert publish(valkey, {}) == Publication(written=0, removed=2)
    assert data_keys(valkey) == []


def test_an_older_version_leaves_a_newer_one_as_it_is(valkey: Valkey) -> None:
    publish(valkey, {"k:1": {"a": "new"}}, version=1_800_000_000_002)
    older = publish(valkey, {"k:1": {"a": "old"}, "k:2": {"a": "old"}}, version=1_800_000_000_001)
    assert older == Publication(written=0, removed=0, superseded_by=1_800_000_000_002)
    assert hashes(valkey) == {"k:1": {"a": "new"}}
    assert data_keys(valkey) == [INDEX, "k:1"]


def publish_read(
    client: redis.Redis, rows: dict[str, dict[str, str]], state: GroupState, **options: Any
) -> Publication:
    return publish(client, rows, version=state, **options)


def state_of(client: redis.Redis) -> GroupState:
    return publisher_of(client).state()


def put_legacy(client: redis.Redis, score: float | str, *keys: str) -> None:
    """Put a group as the release before records left it."""
    client.zadd(INDEX, dict.fromkeys(keys or ("k:0",), score))
    for name in (INDEX, *keys):
        if name != INDEX:
            client.hset(name, "a", "before")
        client.expire(name, 100)


# What may be in the place of a group when a writer begins to read.
BEFORE: dict[str, Callable[[redis.Redis], Any]] = {
    "nothing": lambda client: None,
    "a group": lambda client: publish(client, {"k:0": {"a": "before"}}, version=state_of(client)),
    "a group that has become empty": lambda client: publish(client, {}, version=state_of(client)),
    # What was stored before groups had records: milliseconds since 1970, also of the future, or a count.
    "a group of a time": lambda client: put_legacy(client, 1_795_186_800_000, "k:0"),
    "a group of the future": lambda client: put_legacy(client, 9_999_999_999_999, "k:0", "k:7"),
    "a group of the largest number": lambda client: put_legacy(client, 2**53 - 1),
    "a group of an infinite number": lambda client: put_legacy(client, "inf"),
    "a group of a negative number": lambda client: put_legacy(client, -5.5),
    "a group that was empty": lambda client: client.set(f"{INDEX}:emptied", "77", ex=100),
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
class TestOrderOfReading:
    """Publications that are ordered by when their data was read."""

    def test_what_was_read_last_stays_also_after_many(self, valkey: Valkey, before: Callable[[Any], Any]) -> None:
        before(valkey)
        for number in range(5):
            done = publish_read(valkey, {"k:1": {"a": str(number)}}, state_of(valkey))
            assert (done.written, done.superseded_by) == (1, None)
            assert hashes(valkey, "k:*") == {"k:1": {"a": str(number)}}
        assert data_keys(valkey) == [INDEX, "k:1"]

    def test_of_two_that_read_at_once_the_first_to_publish_stays_and_the_other_reads_again(
        self, valkey: Valkey, before: Callable[[Any], Any]
    ) -> None:
        before(valkey)
        first, second = state_of(valkey), state_of(valkey)
        assert publish_read(valkey, {"k:1": {"a": "second"}, "k:2": {"a": "2"}}, second).written == 2
        refused = publish_read(valkey, {"k:1": {"a": "first"}, "k:3": {"a": "3"}}, first)
        assert (refused.written, refused.removed) == (0, 0)
        assert refused.superseded_by == as_number(valkey.zscore(INDEX, "k:1"))
        assert hashes(valkey, "k:*") == {"k:1": {"a": "second"}, "k:2": {"a": "2"}}
        assert publish_read(valkey, {"k:1": {"a": "first"}}, state_of(valkey)).written == 1
        assert data_keys(valkey) == [INDEX, "k:1"]

    def test_an_empty_result_in_between_is_noticed_too(self, valkey: Valkey, before: Callable[[Any], Any]) -> None:
        before(valkey)
        early = state_of(valkey)
        publish_read(valkey, {"k:1": {"a": "1"}}, state_of(valkey))
        assert publish_read(valkey, {}, state_of(valkey)).removed == 1
        assert publish_read(valkey, {"k:1": {"a": "from before"}}, early).superseded_by is not None
        assert hashes(valkey) == {}


def test_a_first_publication_notices_an_empty_one_before_it(valkey: Valkey) -> None:
    early = state_of(valkey)
    publish_read(valkey, {}, state_of(valkey))
    assert publish_read(valkey, {"k:1": {"a": "from before"}}, early).superseded_by is not None
    assert data_keys(valkey) == []
    # Long after the keys would have expired.
    assert valkey.ttl(f"{INDEX}:group") > 7 * 86_400


def test_a_writer_from_before_a_flush_does_not_pass_for_one_from_after_it(valkey: Valkey) -> None:
    publish_read(valkey, {"k:1": {"a": "before"}}, state_of(valkey))
    early = state_of(valkey)
    valkey.flushall()
    assert publish_read(valkey, {"k:1": {"a": "from before"}}, early).superseded_by == 0
    publish_read(valkey, {"k:1": {"a": "after"}}, state_of(valkey))
    assert publish_read(valkey, {"k:1": {"a": "from before"}}, early).superseded_by is not None
    assert hashes(valkey) == {"k:1": {"a": "after"}}


def test_readers_at_once_leave_what_was_read_last(valkey: Valkey, valkey_server: Any) -> None:
    """Threads read a number, which another one raises meanwhile, and publish it, again until they may."""
    source = count(1)

    def write() -> None:
        with redis.Redis(port=valkey_server.port, decode_responses=True) as client:
            for _ in range(10):
                for _ in range(1000):
                    state = state_of(client)
                    rows = {f"k:{i}": {"read": str(number)} for number in [next(source)] for i in range(9)}
                    if publish_read(client, rows, state).superseded_by is None:
                        published.append(int(rows["k:0"]["read"]))
                        break

    published: list[int] = []
    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(published) == 40
    assert hashes(valkey) == {f"k:{i}": {"read": str(max(published))} for i in range(9)}


TYPES: dict[str, Callable[[redis.Redis, str], Any]] = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x", "y"),
    "set": lambda client, key: client.sadd(key, "x"),
    "sorted set": lambda client, key: client.zadd(key, {"x": 1}),
    "stream": lambda client, key: client.xadd(key, {"x": 1}),
}


@pytest.mark.parametrize("put", TYPES.values(), ids=TYPES.keys())
@pytest.mark.parametrize("by_reading", [True, False])
def test_a_key_of_another_type_is_replaced_named_and_counted_and_stops_no_other(
    valkey: Valkey, put: Callable[[redis.Redis, str], Any], by_reading: bool
) -> None:
    rows = {f"k:{number}": {"a": str(number)} for number in range(5)}
    publish(valkey, rows, version=state_of(valkey) if by_reading else 1)
    valkey.delete("k:3")
    put(valkey, "k:3")
    version: Any = state_of(valkey) if by_reading else 2
    done = publish(valkey, rows, version=version)
    assert (done.written, done.removed, done.replaced, done.replaced_names) == (5, 0, 1, ("k:3",))
    assert hashes(valkey) == rows
    assert 0 < valkey.ttl("k:3") <= 100


@pytest.mark.parametrize("name", [name for name in TYPES if name != "sorted set"])
@pytest.mark.parametrize("by_reading", [True, False])
def test_an_index_of_another_type_is_replaced_if_it_may_be_named_and_counted(
    valkey: Valkey, name: str, by_reading: bool
) -> None:
    TYPES[name](valkey, INDEX)
    options = {"foreign_keys": ForeignKeys.REPLACE}

    def version() -> Any:
        return publisher_of(valkey, **options).state() if by_reading else 1

    done = publish(valkey, {"k:1": {"a": "1"}}, version=version(), **options)
    assert (done.written, done.replaced, done.replaced_names) == (1, 1, (INDEX,))
    assert valkey.zrange(INDEX, 0, -1) == ["k:1"]
    # And an empty group.
    valkey.delete(INDEX)
    TYPES[name](valkey, INDEX)
    assert publish(valkey, {}, version=version(), **options).replaced == 1
    assert not valkey.exists(INDEX)


@pytest.mark.parametrize("put", [put for name, put in TYPES.items() if name != "string"])
def test_a_note_of_emptiness_of_another_type_is_none_and_stays(
    valkey: Valkey, put: Callable[[redis.Redis, str], Any]
) -> None:
    put(valkey, f"{INDEX}:emptied")
    assert publish_read(valkey, {}, state_of(valkey)).superseded_by is None
    assert valkey.exists(f"{INDEX}:emptied")


def test_many_keys_of_another_type_are_counted_and_ten_of_them_named(valkey: Valkey) -> None:
    rows = {f"k:{number:02}": {"a": str(number)} for number in range(40)}
    for key in list(rows)[:30]:
        valkey.set(key, "x")
    done = publish(valkey, rows, foreign_keys=ForeignKeys.REPLACE)
    assert (done.written, done.replaced) == (40, 30)
    assert done.replaced_names == tuple(list(rows)[:10])
    assert hashes(valkey) == rows


def test_the_same_version_again_changes_nothing(valkey: Valkey) -> None:
    rows = {"k:1": {"a": "1"}, "k:2": {"a": "2"}}
    publish(valkey, rows)
    assert publish(valkey, rows) == Publication(written=2, removed=0)
    assert hashes(valkey) == rows


def test_a_staged_hash_that_is_lost_leaves_the_group_as_it_was(valkey: Valkey) -> None:
    publish(valkey, {"k:1": {"a": "old"}})
    publisher = publisher_of(valkey, batch_size=1)
    after_script(publisher, "stage_hashes", lambda keys: valkey.delete(f"{keys[0]}0"))
    with pytest.raises(redis.ResponseError, match="STAGEDHASHGONE"):
        publisher.publish(["k:1", "k:2"], ["a"], [["new", "new"]], version=Version(2), expire_seconds=10)
    assert hashes(valkey, "k:*") == {"k:1": {"a": "old"}}


def die(_: Any) -> None:
    raise redis.ConnectionError("the writer dies here")


def test_staged_hashes_of_a_writer_that_died_expire(valkey: Valkey) -> None:
    publisher = publisher_of(valkey)
    after_script(publisher, "stage_hashes", die)
    with pytest.raises(redis.ConnectionError):
        publisher.publish(["k:0"], ["a"], [["1"]], version=Version(1), expire_seconds=10)
    (staged,) = valkey.keys()
    assert 0 < valkey.ttl(staged) <= 3600


@pytest.mark.parametrize(
    ("keys", "columns", "cause"),
    [
        (["k:0", "k:0"], [["1", "2"]], "'k:0' comes from more than one row"),
        (["k:0"], [], "1 fields, but values for 0"),
        (["k:0", "k:1"], [["1"]], "2 keys, but values for 1"),
        ([INDEX], [["1"]], f"key '{INDEX}' is one that the group itself is kept by"),
        (["k:0", f"{INDEX}:group"], [["1", "1"]], f"key '{INDEX}:group' is one"),
        (["maxy:groups"], [["1"]], "key 'maxy:groups' is one"),
    ],
)
def test_what_cannot_be_published_is_refused_before_anything_is_written(
    valkey: Valkey, keys: list[str], columns: list[list[str | None]], cause: str
) -> None:
    with pytest.raises(ValueError, match=cause):
        publisher_of(valkey).publish(keys, ["a"], columns, version=Version(1), expire_seconds=10)
    assert valkey.keys() == []


def test_rows_without_any_value_are_left_out_counted_and_named(valkey: Valkey) -> None:
    publish(valkey, {"k:1": {"a": "1"}, "k:2": {"a": "2"}})
    keys = [f"k:{number}" for number in range(20)]
    columns = [
        ["x" if number % 4 == 0 else None for number in range(20)],
        ["y" if number % 6 == 0 else None for number in range(20)],
    ]
    done = publisher_of(valkey).publish(keys, ["a", "b"], columns, version=Version(2), expire_seconds=100)
    kept = [number for number in range(20) if number % 4 == 0 or number % 6 == 0]
    names = tuple(f"k:{number}" for number in range(20) if number not in kept)
    assert (done.written, done.removed, done.left_out) == (len(kept), 2, len(names))
    assert done.left_out_names == names[:10]
    assert sorted(hashes(valkey, "k:*")) == sorted(f"k:{number}" for number in kept)


def test_no_text_stands_for_no_value(valkey: Valkey) -> None:
    rows = {"k:1": {"a": "\0", "b": "\0t"}, "k:2": {"b": "\0\0"}, "k:3": {"a": ""}}
    publish(valkey, rows)
    assert hashes(valkey, "k:*") == rows


def test_many_hashes_of_many_fields(valkey: Valkey) -> None:
    rows = {f"k:{i}": {f"f{j}": str(i * j) for j in range(21)} for i in range(3000)}
    assert publish(valkey, rows, batch_size=500).written == 3000
    assert hashes(valkey, "k:2999") == {"k:2999": rows["k:2999"]}
    assert len(data_keys(valkey)) == 3001


def test_a_hash_of_very_many_fields_and_one_of_large_values(valkey: Valkey) -> None:
    rows = {f"k:{i}": {f"f{j}": str(i * j) for j in range(9001)} for i in range(2)}
    publish(valkey, rows, batch_size=500)
    assert hashes(valkey, "k:*") == rows
    large = {f"k:{i}": {"a": str(i) * 400_000} for i in range(5)}
    publish(valkey, large, batch_size=500)
    assert hashes(valkey, "k:*") == large


def test_a_reader_sees_one_version_of_all_keys_at_any_moment(valkey: Valkey, valkey_server: Any) -> None:
    keys = [f"k:{i}" for i in range(200)]
    done = threading.Event()
    seen: set[tuple[str, ...]] = set()

    def read() -> None:
        with redis.Redis(port=valkey_server.port, decode_responses=True) as reader:
            while not done.is_set():
                transaction = reader.pipeline(transaction=True)
                for key in keys:
                    transaction.hget(key, "version")
                seen.add(tuple(dict.fromkeys(transaction.execute())))

    publish(valkey, {key: {"version": "0"} for key in keys}, version=0)
    thread = threading.Thread(target=read)
    thread.start()
    versions = count(1)

    def publish_more() -> bool:
        for version in islice(versions, 40):
            publish(valkey, {key: {"version": str(version)} for key in keys}, version=version, batch_size=50)
        # On a busy machine the reader may not have had its turn yet.
        return len(seen) > 1 or not thread.is_alive()

    eventually(publish_more, "the reader has seen more than one version")
    done.set()
    thread.join()
    assert all(len(versions) == 1 for versions in seen)
    assert len(seen) > 1


def test_concurrent_writers_leave_the_newest_version_whole(valkey: Valkey, valkey_server: Any) -> None:
    def write(version: int) -> None:
        rows = {f"k:{i}": {"version": str(version)} for i in range(version, version + 50)}
        with redis.Redis(port=valkey_server.port, decode_responses=True) as client:
            publish(client, rows, version=version, batch_size=7)

    threads = [threading.Thread(target=write, args=(version,)) for version in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hashes(valkey) == {f"k:{i}": {"version": "7"} for i in range(7, 57)}
    assert data_keys(valkey) == sorted([INDEX, *(f"k:{i}" for i in range(7, 57))])


VALUES = st.text(min_size=0, max_size=4).filter(lambda text: text != "\0")
ROWS = st.dictionaries(
    st.sampled_from([f"k:{i}" for i in range(6)]),
    st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1),
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(ROWS, st.integers(0, 5)), max_size=6))
def test_any_sequence_of_publications_leaves_the_newest_of_the_highest_version(
    valkey: Valkey, sequence: list[tuple[dict[str, dict[str, str]], int]]
) -> None:
    valkey.flushall()
    expected: dict[str, dict[str, str]] = {}
    highest = -1
    for rows, version in sequence:
        publish(valkey, rows, version=version)
        # A group without keys keeps its version.
        if version >= highest:
            expected, highest = rows, version
    assert hashes(valkey) == expected
