from __future__ import annotations

import threading
from itertools import count, islice
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxy.valkey.hashes import HashPublisher, Publication
from tests.support import hashes
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.support import Valkey

INDEX = "index:g"


def publish(client: redis.Redis, rows: dict[str, dict[str, str]], *, version: int = 1, **options: Any) -> Publication:
    """Publish rows given as key -> field -> value."""
    fields = sorted({field for row in rows.values() for field in row})
    publisher = HashPublisher(client, INDEX, batch_size=options.pop("batch_size", 2))
    return publisher.publish(
        list(rows),
        fields,
        [[row.get(field) for row in rows.values()] for field in fields],
        version=version,
        expire_seconds=options.pop("expire_seconds", 100),
        token=options.pop("token", "t"),
    )


def test_writes_every_key_with_its_fields_and_expiry(valkey: Valkey) -> None:
    rows = {"k:1": {"a": "1", "b": "한국 [x] ' \""}, "k:2": {"a": "2"}, "k:3": {"a": "", "b": "3"}}
    assert publish(valkey, rows) == Publication(written=3, removed=0)
    assert hashes(valkey) == rows
    assert {0 < valkey.ttl(key) <= 100 for key in [*rows, INDEX]} == {True}
    assert sorted(valkey.keys()) == sorted([*rows, INDEX])


def test_a_field_that_is_gone_is_removed_from_its_key(valkey: Valkey) -> None:
    publish(valkey, {"k": {"a": "1", "b": "2"}})
    publish(valkey, {"k": {"a": "3"}})
    assert hashes(valkey) == {"k": {"a": "3"}}


def test_keys_that_are_gone_are_removed_and_others_left_alone(valkey: Valkey) -> None:
    valkey.hset("stranger", "a", "0")
    publish(valkey, {"k:1": {"a": "1"}, "k:2": {"a": "2"}})
    assert publish(valkey, {"k:2": {"a": "2"}}) == Publication(written=1, removed=1)
    assert hashes(valkey) == {"k:2": {"a": "2"}, "stranger": {"a": "0"}}


def test_an_empty_group_removes_all_its_keys(valkey: Valkey) -> None:
    publish(valkey, {"k:1": {"a": "1"}, "k:2": {"a": "2"}})
    assert publish(valkey, {}) == Publication(written=0, removed=2)
    assert valkey.keys() == []


def test_an_older_version_leaves_a_newer_one_as_it_is(valkey: Valkey) -> None:
    publish(valkey, {"k:1": {"a": "new"}}, version=1_800_000_000_002)
    older = publish(valkey, {"k:1": {"a": "old"}, "k:2": {"a": "old"}}, version=1_800_000_000_001)
    assert older == Publication(written=0, removed=0, superseded_by=1_800_000_000_002)
    assert hashes(valkey) == {"k:1": {"a": "new"}}
    assert sorted(valkey.keys()) == [INDEX, "k:1"]


def test_the_same_version_again_changes_nothing(valkey: Valkey) -> None:
    rows = {"k:1": {"a": "1"}, "k:2": {"a": "2"}}
    publish(valkey, rows)
    assert publish(valkey, rows) == Publication(written=2, removed=0)
    assert hashes(valkey) == rows


def test_a_staged_hash_that_is_lost_leaves_the_group_as_it_was(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(valkey, {"k:1": {"a": "old"}})
    publisher = HashPublisher(valkey, INDEX, batch_size=1)
    stage = publisher._stage

    def stage_and_lose_the_first(**arguments: Any) -> Any:
        staged = stage(**arguments)
        valkey.delete(f"{arguments['keys'][0]}0")
        return staged

    monkeypatch.setattr(publisher, "_stage", stage_and_lose_the_first)
    with pytest.raises(redis.ResponseError, match="STAGEDHASHGONE"):
        publisher.publish(["k:1", "k:2"], ["a"], [["new", "new"]], version=2, expire_seconds=10, token="t")
    assert hashes(valkey, "k:*") == {"k:1": {"a": "old"}}


def test_staged_hashes_of_a_writer_that_died_expire(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = HashPublisher(valkey, INDEX)
    monkeypatch.setattr(publisher, "_publish", Mock(side_effect=redis.ConnectionError))
    with pytest.raises(redis.ConnectionError):
        publisher.publish(["k"], ["a"], [["1"]], version=1, expire_seconds=10, token="t")
    (staged,) = valkey.keys()
    assert 0 < valkey.ttl(staged) <= 3600


@pytest.mark.parametrize(
    ("keys", "column", "cause"),
    [(["k", "k"], ["1", "2"], "'k' comes from more than one row"), (["k"], [None], "'k' has no value")],
)
def test_what_cannot_be_published_is_refused_before_anything_is_written(
    valkey: Valkey, keys: list[str], column: list[str | None], cause: str
) -> None:
    with pytest.raises(ValueError, match=cause):
        HashPublisher(valkey, INDEX).publish(keys, ["a"], [column], version=1, expire_seconds=10, token="t")
    assert valkey.keys() == []


def test_many_hashes_of_many_fields(valkey: Valkey) -> None:
    rows = {f"k:{i}": {f"f{j}": str(i * j) for j in range(21)} for i in range(6000)}
    assert publish(valkey, rows, batch_size=500).written == 6000
    assert hashes(valkey, "k:5999") == {"k:5999": rows["k:5999"]}
    assert valkey.dbsize() == 6001


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
            publish(client, rows, version=version, token=str(version), batch_size=7)

    threads = [threading.Thread(target=write, args=(version,)) for version in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hashes(valkey) == {f"k:{i}": {"version": "7"} for i in range(7, 57)}
    assert sorted(valkey.keys()) == sorted([INDEX, *(f"k:{i}" for i in range(7, 57))])


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
        # A group without keys has no version.
        if version >= highest or not expected:
            expected, highest = rows, version
    assert hashes(valkey) == expected
