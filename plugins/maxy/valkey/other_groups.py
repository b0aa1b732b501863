"""Which other group a key belongs to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from maxy.text import decoded
from maxy.valkey.groups import REGISTRY_KEY, generation_key, record_key
from maxy.valkey.keys import KeyTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

_OF_A_GENERATION = re.compile(r"(.*)@([0-9]+)", re.DOTALL)
_REGISTRY_SLICE = 500
_KEY_SLICE = 500
_INDEX_SLICE = 50


@dataclass(frozen=True)
class OtherGroup:
    """A group that has a key.

    :param index_key: the group's index.
    :param owner: who writes it; empty if nobody has yet.
    :param key: the key of it that was asked for.
    """

    index_key: str
    owner: str
    key: str


def registry_entry(template: KeyTemplate) -> str:
    """Return what the registry says of a group: from what its keys are made."""
    return json.dumps([template.prefix, str(template)])


class OtherGroups:
    """The groups of a database but one's own.

    :param client: connected to a server that is not a cluster.
    :param index_key: of one's own group.
    """

    def __init__(self, client: redis.Redis, index_key: str) -> None:
        self._client = client
        self._index_key = index_key
        self._by_template: dict[str, list[str]] | None = None

    def holding(self, keys: Sequence[str]) -> OtherGroup | None:
        """Return a group that one of the keys belongs to, as its hash or for its own keeping; None if there is none.

        :raises redis.RedisError: on a server or network error.
        """
        for start in range(0, len(keys), _KEY_SLICE):
            part = keys[start : start + _KEY_SLICE]
            if found := self._keeping(set(part)) or self._publishing(part):
                owner: Any = self._client.hget(record_key(found[0]), "owner")
                return OtherGroup(found[0], decoded(owner or ""), found[1])
        return None

    def _groups(self) -> dict[str, list[str]]:
        """Return the other groups' indexes by the entry of their template."""
        if self._by_template is None:
            self._by_template = {}
            entries: Any = self._client.hscan_iter(REGISTRY_KEY, count=_REGISTRY_SLICE)
            for index, entry in entries:
                if decoded(index) != self._index_key:
                    self._by_template.setdefault(decoded(entry), []).append(decoded(index))
        return self._by_template

    def _keeping(self, keys: set[str]) -> tuple[str, str] | None:
        """Return a group one of whose indexes or records is among the keys, and that key."""
        for indexes in self._groups().values():
            for index in indexes:
                if found := keys & {index, record_key(index)}:
                    return index, found.pop()
        return None

    def _publishing(self, keys: Sequence[str]) -> tuple[str, str] | None:
        """Return a group that has written one of the keys, and that key."""
        for entry, indexes in self._groups().items():
            template = _template(entry)
            members: dict[str, list[tuple[str, str]]] = {}
            for key, member, generation in _readings(keys):
                if template is None or template.can_make(member):
                    members.setdefault(generation, []).append((key, member))
            for generation, candidates in members.items():
                if found := self._first_held(indexes, generation, candidates):
                    return found
        return None

    def _first_held(
        self, indexes: Sequence[str], generation: str, candidates: Sequence[tuple[str, str]]
    ) -> tuple[str, str] | None:
        names = [member for _, member in candidates]
        for start in range(0, len(indexes), _INDEX_SLICE):
            part = indexes[start : start + _INDEX_SLICE]
            pipeline = self._client.pipeline(transaction=False)
            for index in part:
                pipeline.zmscore(generation_key(index, generation), names)
            for index, scores in zip(part, pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(scores, ResponseError):
                    # Something else is in the index's place, so it holds nothing.
                    continue
                if isinstance(scores, Exception):
                    raise scores
                for (key, _), score in zip(candidates, scores, strict=True):
                    if score is not None:
                        return index, key
        return None


def _readings(keys: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each key with what it may be: a plain key, and a key of a generation."""
    for key in keys:
        yield key, key, ""
        if match := _OF_A_GENERATION.fullmatch(key):
            yield key, match[1], match[2]


def _template(entry: str) -> KeyTemplate | None:
    """Read an entry of the registry; None, which may be any template, if it cannot be read."""
    try:
        prefix, template = json.loads(entry)
        return KeyTemplate(template, prefix=prefix)
    except (ValueError, TypeError):
        return None
