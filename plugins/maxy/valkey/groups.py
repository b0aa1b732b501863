"""Read a group of hashes that :class:`~maxy.operators.valkey.ClickHouseToValkeyHashOperator` keeps in Valkey.

Of a group in generations, readers ask for the generation that is published and read that one's keys; other languages do
the same with two commands (docs/how-to-operators.md). Of a group of plain keys, the keys are read as they are.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from maxy.text import decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import redis

#: All groups of a database: a hash of the templates of their keys, by their index.
REGISTRY_KEY = "maxy:groups"
# A generation is there for a minute at least after the next one was published, so more than twice is never needed by a
# reader that is not stopped in between.
_ATTEMPTS = 10
_SLICE = 500


def record_key(index_key: str) -> str:
    """Return where a group's record is kept."""
    return f"{index_key}:group"


def generation_key(key: str, generation: str) -> str:
    """Return the name of a key, or of the index, in a generation; the key itself for the empty one."""
    return f"{key}@{generation}" if generation else key


def index_members(client: redis.Redis, index_key: str) -> Iterator[str]:
    """Yield the keys that an index remembers, in slices."""
    position = 0
    while True:
        members: Any = client.zrange(index_key, position, position + _SLICE - 1)
        yield from map(decoded, members)
        position += len(members)
        if len(members) < _SLICE:
            return


class GroupChangedError(RuntimeError):
    """The group was published again and again while it was being read."""


class GroupReader:
    """Reads a group of hashes, whole, whichever way it is kept.

    :param client: connected to a server that is not a cluster; it may decode answers or not.
    :param index_key: the group's index, with its prefix.
    """

    def __init__(self, client: redis.Redis, index_key: str) -> None:
        self._client = client
        self._index_key = index_key

    def generation(self) -> str:
        """Return the generation that is published; empty for a group of plain keys."""
        found: Any = self._client.hget(record_key(self._index_key), "generation")
        return "" if found is None else decoded(found)

    def read(self, key: str) -> dict[str, str]:
        """Return one hash; empty if the group has no such key.

        :raises GroupChangedError: if a new generation came at each of many attempts.
        """
        return self.read_many([key])[key]

    def read_many(self, keys: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return hashes of one generation, by key; an empty one for a key that the group does not have.

        Of plain keys, a few hundred are read in one step, more in several.

        :raises GroupChangedError: if a new generation came at each of many attempts.
        """
        wanted = list(dict.fromkeys(keys))
        for _ in range(_ATTEMPTS):
            generation = self.generation()
            found = dict(zip(wanted, self._hashes(wanted, generation), strict=True))
            # A key that is not there may have gone with its generation.
            if all(found.values()) or self.generation() == generation:
                return found
        raise GroupChangedError(f"{self._index_key}: a new generation was published at each of {_ATTEMPTS} attempts")

    def keys(self) -> Iterator[str]:
        """Yield the keys of the generation that is published now, in slices.

        :raises GroupChangedError: if that generation goes meanwhile: its keys have not all been named.
        """
        generation = self.generation()
        index = generation_key(self._index_key, generation)
        yield from index_members(self._client, index)
        if generation and self.generation() != generation and not self._client.exists(index):
            raise GroupChangedError(f"{self._index_key}: generation {generation} has gone while its keys were read")

    def _hashes(self, keys: Iterable[str], generation: str) -> Iterator[dict[str, str]]:
        names = (generation_key(key, generation) for key in keys)
        while batch := list(islice(names, _SLICE)):
            pipeline = self._client.pipeline(transaction=not generation)
            for name in batch:
                pipeline.hgetall(name)
            yield from map(_texts, pipeline.execute())


def _texts(answer: Mapping[Any, Any]) -> dict[str, str]:
    return {decoded(field): decoded(value) for field, value in answer.items()}
