"""What is known of a group of hashes before it is published, and what of it forbids that."""

from __future__ import annotations

import math
import random
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maxy.text import decoded, one_line
from maxy.valkey.groups import record_key
from maxy.valkey.versions import Unit, Version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Sequences of groups that had none: unlike for each, and below every time in milliseconds.
_FIRST_SEQUENCES = 2**32
# From here on a double, which scores of an index are, does not hold every whole number.
_TOO_LARGE = 2**53 - 1
_LEGACY = "legacy "
# Size, lowest and highest score, and time to live.
_NO_INDEX: Sequence[Any] = (0, "0", "0", -1)


class GroupRefusedError(ValueError):
    """The group, or a key of it, is not this writer's to write; nothing that readers see has changed."""


@dataclass(frozen=True)
class Writer:
    """Who publishes a group.

    :param name: who owns the group, such as ``dag.task``.
    :param map_index: of a mapped task; -1 for others.
    :param run: two mapped instances of one run are two owners; a later run may deal out the groups otherwise.
    """

    name: str
    map_index: int = -1
    run: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a group's record."""
        return {"owner": self.name, "owner_map_index": str(self.map_index), "owner_run": self.run}

    def __str__(self) -> str:
        return self.name if self.map_index < 0 else f"{self.name} with map index {self.map_index}"


@dataclass(frozen=True)
class GroupView:
    """A group as it was at one moment.

    :param index_key: its index.
    :param state: what tells one publication from the next; empty if there was none.
    :param record_type: of the key in the record's place.
    :param registry_type: of the key in the registry's place.
    :param index_type: of the key in the index's place.
    :param record: the record's fields; empty if there is none of ours.
    :param index_size: how many keys the index has.
    :param scores: the lowest and the highest of the index.
    :param index_expires: whether the index has a time to live.
    """

    index_key: str
    state: str = ""
    record_type: str = "none"
    registry_type: str = "none"
    index_type: str = "none"
    record: Mapping[str, str] = field(default_factory=dict)
    index_size: int = 0
    scores: tuple[float, float] = (0.0, 0.0)
    index_expires: bool = False

    @classmethod
    def from_answer(cls, index_key: str, answer: Any) -> GroupView:
        """Read what look_at_group.lua returns."""
        state, record_type, registry_type, index_type = map(decoded, answer[:4])
        fields, size, lowest, highest, remaining = (*answer[4:], *_NO_INDEX)[:5]
        names, values = map(decoded, fields[::2]), map(decoded, fields[1::2])
        return cls(
            index_key,
            state,
            record_type,
            registry_type,
            index_type,
            record=dict(zip(names, values, strict=True)),
            index_size=size,
            scores=(float(decoded(lowest)), float(decoded(highest))),
            index_expires=remaining >= 0,
        )

    @property
    def is_recorded(self) -> bool:
        """Whether the group has a record; groups of before records have none."""
        return bool(self.record)

    @property
    def has_foreign_record(self) -> bool:
        """Whether somebody else's key is where the record should be."""
        return self.record_type != "none" and not self.is_recorded

    @property
    def generation(self) -> str:
        """The generation that readers are led to; empty if there is none."""
        return self.record.get("generation", "")

    @property
    def is_unfinished(self) -> bool:
        """Whether a publication in slices has begun and not ended."""
        return "running" in self.record

    @property
    def next_sequence(self) -> str:
        """What a publication over this one is numbered."""
        number = self._number()
        if number is None or not 0 <= number < _TOO_LARGE:
            return str(random.randrange(1, _FIRST_SEQUENCES))
        return str(math.floor(number) + 1)

    @property
    def sequence(self) -> int:
        """The publication that is there; 0 if there is none."""
        number = self._number()
        return int(number) if number is not None and math.isfinite(number) else 0

    def _number(self) -> float | int | None:
        try:
            return float(self.state.removeprefix(_LEGACY)) if self.is_legacy else int(self.state)
        except ValueError:
            return None

    @property
    def is_legacy(self) -> bool:
        """Whether what is there was published before groups had records."""
        return self.state.startswith(_LEGACY)

    def has_index_of(self, template: str) -> bool:
        """Whether the index is, for certain, what the last publication left, by this template."""
        sequence = self.record.get("index_sequence", "")
        return (
            bool(sequence)
            and self.record.get("template") == template
            and self.scores == (float(sequence), float(sequence))
        )

    @property
    def may_be_index(self) -> bool:
        """Whether the index looks like one: equal scores that expire, unless slices were broken off."""
        return self.is_unfinished or (self.scores[0] == self.scores[1] and self.index_expires)

    def require_writer(self, writer: Writer) -> None:
        """Refuse a writer that is not the group's owner.

        :raises GroupRefusedError: naming both.
        """
        name = self.record.get("owner", "")
        if not name:
            return
        owner = Writer(name, int(self.record.get("owner_map_index") or -1), self.record.get("owner_run", ""))
        # Instances of one mapped task in one run are different writers. In another run the same keys may have got
        # another map index, which is no conflict.
        if owner.name == writer.name and (owner.map_index == writer.map_index or owner.run != writer.run):
            return
        raise GroupRefusedError(
            f"{self._index}: the group belongs to {owner}, and {writer} may not write it: each would remove the other's"
            " keys. Give each writer an index_key of its own (for a mapped task, one with what it is mapped over). To"
            " let several tasks write one group in turn, give all of them the same group_owner=. To hand the group"
            f' over: valkey-cli HSET {self._quoted_record} owner ""'
        )

    def newer_than(self, version: Version) -> Version | None:
        """Return the version that is there, if a result of this version is older.

        :raises GroupRefusedError: if the two cannot be compared, naming their units.
        """
        if self.is_legacy:
            return self._newer_legacy(version)
        published = self.version
        if published is None:
            return None
        self.require_unit(version.unit)
        return published if published.number > version.number else None

    def require_unit(self, unit: Unit) -> None:
        """Refuse a result that is ordered by another unit than the group.

        :raises GroupRefusedError: naming both, and the command that resets the version.
        """
        found = self.record.get("unit", "")
        if found and found != unit:
            raise GroupRefusedError(
                f"{self._index}: the group's results are ordered by {found} so far (its version is"
                f" {self.record.get('version')}), and this one by {unit}: which of them is newer cannot be told. To"
                f" forget the version and begin anew: {self.reset_command}"
            )

    @property
    def version(self) -> Version | None:
        """The version that is published, as far as the record says."""
        try:
            return Version(int(self.record["version"]), Unit(self.record["unit"]))
        except (KeyError, ValueError):
            return None

    @property
    def reset_command(self) -> str:
        """The command that makes a group forget its version."""
        return f'valkey-cli HSET {self._quoted_record} format 1 version "" unit ""'

    def _newer_legacy(self, version: Version) -> Version | None:
        """Compare with a version of before records, whose unit nobody noted."""
        number = self._number()
        if number is None:
            return None
        if version.unit is Unit.NANOSECONDS and math.isfinite(number):
            # Times were milliseconds then.
            published = Version(int(number) * 1_000_000, Unit.NANOSECONDS)
            return published if published.number > version.number else None
        if number <= version.number:
            return None
        raise GroupRefusedError(
            f"{self._index}: the group was published with version {number:.0f} by a former release, which did not note"
            f" its unit, and this result has {version} ({version.unit}): which of them is newer cannot be told. To"
            f" forget the version and begin anew: {self.reset_command}"
        )

    @property
    def _index(self) -> str:
        return one_line(self.index_key)

    @property
    def _quoted_record(self) -> str:
        return shlex.quote(record_key(self.index_key))
