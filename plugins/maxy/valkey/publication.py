"""What one publication of a group of hashes is asked, and how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maxy.valkey.versions import Unit, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maxy.valkey.group_view import GroupView, Writer
    from maxy.valkey.hash_rows import HashRows

# The record outlives the keys, so that neither a late result nor a stranger passes for the first one.
_RECORD_SECONDS = 30 * 86_400


@dataclass(frozen=True)
class Publication:
    """How a publication ended.

    :param written: keys that were written.
    :param removed: keys of the group that are no longer in it and were removed.
    :param superseded_by: the version that was there instead, in which case nothing was written; else None. 0 stands for
        a group that has gone meanwhile.
    :param replaced: keys in whose place a value of another type was, the index included.
    :param replaced_names: ten of them at the most.
    :param left_out: keys of rows without any value, which were not written.
    :param left_out_names: ten of them at the most.
    :param was_overtaken: superseded by a writer that has certainly read later, so there is no need to read again.
    """

    written: int
    removed: int
    superseded_by: int | None = None
    replaced: int = 0
    replaced_names: tuple[str, ...] = ()
    left_out: int = 0
    left_out_names: tuple[str, ...] = ()
    was_overtaken: bool = False


@dataclass(frozen=True)
class GroupState:
    """What a group was like when its writer began to read, so that a publication in between is noticed.

    :param text: tells one publication from the next; empty if there was none.
    """

    text: str


@dataclass(frozen=True, kw_only=True)
class PublicationRequest:
    """What one publication is asked.

    :param rows: the hashes.
    :param version: orders publications.
    :param expire_seconds: seconds after which keys and index expire.
    :param token: names this publication, and no other one.
    :param writer: who publishes.
    :param template: what the registry says of the group's keys.
    :param batch_size: hashes sent in one command, at the most.
    """

    rows: HashRows
    version: Version | GroupState
    expire_seconds: int
    token: str
    writer: Writer
    template: str
    batch_size: int

    @property
    def unit(self) -> Unit:
        """What the version counts."""
        return self.version.unit if isinstance(self.version, Version) else Unit.READING

    @property
    def record_seconds(self) -> int:
        """Seconds after which the group's record expires."""
        return max(self.expire_seconds, _RECORD_SECONDS)

    @property
    def absent(self) -> str:
        """What stands for no value in arguments of scripts: no value, since nobody knows the token before."""
        return f"\0{self.token}"

    def slices(self, most: int) -> Iterator[range]:
        """Yield the rows' positions in slices that one script takes, of so many at the most."""
        return self.rows.slices(min(self.batch_size, most))

    def number(self, sequence: str) -> int:
        """Return the version's number in the record.

        :param sequence: the publication's.
        """
        return self.version.number if isinstance(self.version, Version) else int(sequence)

    def record(self, sequence: str, **more: str) -> str:
        """Return the fields of the group's record as JSON.

        :param sequence: the publication's.
        """
        return json.dumps(
            {
                **self.writer.fields,
                "sequence": sequence,
                "version": str(self.number(sequence)),
                "unit": self.unit,
                "template": self.template,
                **more,
            }
        )

    def superseded_by(self, view: GroupView) -> int | None:
        """Return the version that keeps this publication out; None if there is none.

        :raises GroupRefusedError: if the two versions cannot be compared.
        """
        if isinstance(self.version, Version):
            newer = view.newer_than(self.version)
            return None if newer is None else newer.number
        view.require_unit(Unit.READING)
        return None if view.state == self.version.text else view.sequence

    def keeps_out(self, note: str) -> bool:
        """Whether a generation that another writer was writing cannot be published after this one.

        :param note: from the record, see :meth:`note`.
        """
        unit, number, _ = note.rsplit(" ", 2)
        return unit != self.unit or not isinstance(self.version, Version) or int(number) <= self.version.number

    def note(self, sequence: str) -> str:
        """Return what the record says of a generation that is being written."""
        return f"{self.unit} {self.number(sequence)} {self.token}"

    def published(self, removed: int, replaced: int = 0, replaced_names: tuple[str, ...] = ()) -> Publication:
        """Return that all rows were published."""
        return Publication(len(self.rows), removed, replaced=replaced, replaced_names=replaced_names)


def overtaken(view: GroupView) -> Publication:
    """Return that another writer has begun since this one had, and so has read later or has a higher version."""
    version = view.version
    return Publication(0, 0, superseded_by=view.sequence if version is None else version.number, was_overtaken=True)
