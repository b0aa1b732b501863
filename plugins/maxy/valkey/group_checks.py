"""What is checked before the first write to a group: its index, and what is in the place of its keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from maxy.text import decoded, one_line
from maxy.valkey.group_view import GroupRefusedError
from maxy.valkey.groups import REGISTRY_KEY, index_members, record_key
from maxy.valkey.other_groups import OtherGroups, registry_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from maxy.valkey.group_scripts import GroupScripts
    from maxy.valkey.group_view import GroupView
    from maxy.valkey.keys import KeyTemplate

_SLICE = 500
_NAMED = 10


class ForeignKeys(StrEnum):
    """What is done with values of other types in the place of the index or of a hash that the group has not written.

    ``refuse``: nothing is written. ``replace``: they are replaced, counted and named.
    """

    REFUSE = "refuse"
    REPLACE = "replace"


@dataclass(frozen=True)
class IndexCheck:
    """What is in the place of the group's index and record.

    :param is_own: whether the index is the group's. One that is not, and may be replaced, is given up: the keys that
        it names are left alone.
    :param replaced: what of the group's own keeping is replaced, by name.
    """

    is_own: bool
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyCheck:
    """What is in the place of the keys.

    :param is_own_index: whether the index is the group's.
    :param places: a character per key, as check_keys.lua has them.
    :param replaced: how many keys hold another type than they should, the index included.
    :param replaced_names: ten of them at the most.
    """

    is_own_index: bool
    places: str
    replaced: int
    replaced_names: tuple[str, ...]

    def may_replace(self, position: int) -> bool:
        """Whether a key may be written although there is something that the group has not written."""
        return self.places[position] in "hx"


class GroupChecks:
    """The checks of one writer's group.

    :param client: connected to a server that is not a cluster.
    :param scripts: the group's.
    :param template: makes the group's keys.
    :param foreign_keys: what is done with values of other types.
    """

    def __init__(
        self, client: redis.Redis, scripts: GroupScripts, template: KeyTemplate, foreign_keys: ForeignKeys
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._index_key = scripts.index_key
        self._template = template
        self._foreign_keys = foreign_keys

    def require_own_index(self, view: GroupView) -> IndexCheck:
        """Check what is in the place of the group's index and record.

        :raises GroupRefusedError: if it is somebody else's, naming it, its type and a key in it.
        """
        if view.registry_type not in ("none", "hash"):
            raise GroupRefusedError(
                f"{REGISTRY_KEY} remembers the groups of this database, but holds a {_called(view.registry_type)}:"
                " rename or remove it"
            )
        problems = {
            key: problem
            for key, problem in (
                (record_key(self._index_key), self._foreign_record(view)),
                (self._index_key, self._foreign_index(view)),
            )
            if problem is not None
        }
        if problems and self._foreign_keys is ForeignKeys.REFUSE:
            raise GroupRefusedError(
                f"{next(iter(problems.values()))}. Choose another index_key; or, if it may be given up, say"
                ' foreign_keys="replace", which leaves the keys alone that it names'
            )
        is_own = view.index_type == "zset" and self._index_key not in problems
        return IndexCheck(is_own, tuple(problems))

    def require_free_keys(self, keys: Sequence[str], index: IndexCheck) -> KeyCheck:
        """Check what is in the place of the keys that are to be written.

        :raises GroupRefusedError: if a key is another group's, or of another type and not this group's; it is named.
        """
        others = OtherGroups(self._client, self._index_key)
        parts: list[str] = []
        replaced, named = len(index.replaced), list(index.replaced)
        for start in range(0, len(keys), _SLICE):
            part = keys[start : start + _SLICE]
            places = decoded(self._scripts.run_slice("check_keys", [int(index.is_own), *part]))
            parts.append(places)
            if "h" in places or "x" in places:
                strangers = [key for key, place in zip(part, places, strict=True) if place in "hx"]
                self._require_nobodys(others, strangers)
            if "x" in places and self._foreign_keys is ForeignKeys.REFUSE:
                raise self._another_type(part[places.index("x")])
            if "t" in places or "x" in places:
                wrong = [key for key, place in zip(part, places, strict=True) if place in "tx"]
                replaced += len(wrong)
                named += wrong[: _NAMED - len(named)]
        return KeyCheck(index.is_own, "".join(parts), replaced, tuple(named[:_NAMED]))

    def _require_nobodys(self, others: OtherGroups, keys: Sequence[str]) -> None:
        if (other := others.holding(keys)) is None:
            return
        owner = f" of {other.owner}" if other.owner else ""
        raise GroupRefusedError(
            f"{one_line(self._index_key)}: key {one_line(other.key)} belongs to the group"
            f" {one_line(other.index_key)}{owner}: two groups that write one key would remove it from each other."
            " Choose another key_template, or write both results by one query"
        )

    def _another_type(self, key: str) -> GroupRefusedError:
        kind = _called(decoded(self._client.type(key)))
        return GroupRefusedError(
            f"{one_line(self._index_key)}: key {one_line(key)} holds a {kind} that this group has not written. Choose"
            ' another key_template; or, if it may be overwritten, say foreign_keys="replace"'
        )

    def _foreign_record(self, view: GroupView) -> str | None:
        """Return what makes the record somebody else's; None if it is the group's, or there is none."""
        if not view.has_foreign_record:
            return None
        return (
            f"{one_line(record_key(self._index_key))} is where the group's record is kept, but it holds a"
            f" {_called(view.record_type)} that this package has not written"
        )

    def _foreign_index(self, view: GroupView) -> str | None:
        """Return what makes the index somebody else's; None if it is the group's, or there is none."""
        name = one_line(self._index_key)
        if view.index_type == "none":
            return None
        if view.index_type != "zset":
            return f"{name} is where the group's index is kept, but it holds a {_called(view.index_type)}"
        if view.has_index_of(registry_entry(self._template)):
            return None
        if not view.may_be_index:
            return (
                f"{name} is where the group's index is kept, but it holds a sorted set that this package has not"
                f" written, with members such as {one_line(next(index_members(self._client, self._index_key)))}"
            )
        members = index_members(self._client, self._index_key)
        others = OtherGroups(self._client, self._index_key)
        while part := list(islice(members, _SLICE)):
            for member in part:
                if not self._template.can_make(member):
                    return (
                        f"{name} remembers keys that key_template {str(self._template)!r} cannot have made, such as"
                        f" {one_line(member)}: they are another writer's, or another template's, and would be removed"
                    )
            if not view.is_recorded:
                # Of before records: nobody has looked yet whether two groups share keys.
                self._require_nobodys(others, part)
        return None


def _called(kind: str) -> str:
    return "sorted set" if kind == "zset" else kind
