"""Publish a group of hashes in Valkey: whole, for whoever owns it, without holding the server for long."""

from __future__ import annotations

import uuid
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from maxy.text import one_line
from maxy.valkey.generations import publish_generation, retire_former
from maxy.valkey.group_checks import ForeignKeys, GroupChecks
from maxy.valkey.group_scripts import GroupScripts
from maxy.valkey.group_view import GroupRefusedError, GroupView, Writer
from maxy.valkey.hash_rows import HashRows
from maxy.valkey.one_step import MOST_KEYS, OneStep
from maxy.valkey.other_groups import registry_entry
from maxy.valkey.publication import GroupState, Publication, PublicationRequest, overtaken
from maxy.valkey.slices import publish_in_slices
from maxy.valkey.versions import Unit, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from maxy.valkey.keys import KeyTemplate

__all__ = [
    "ForeignKeys",
    "GroupRefusedError",
    "GroupState",
    "HashPublisher",
    "LargeGroups",
    "Layout",
    "Publication",
    "Unit",
    "Version",
    "Writer",
]

# Somebody else has published, or has written one of the keys, between look and step: how often that may happen in all.
_ATTEMPTS = 50


class Layout(StrEnum):
    """How the keys of a group are named.

    ``keys``: as the template says. ``generations``: the same with ``@`` and the number of a generation, which is in the
    group's record; readers of a group of any size then see all of the former result or all of the new one.
    """

    KEYS = "keys"
    GENERATIONS = "generations"


class LargeGroups(StrEnum):
    """What is done with plain keys that are too many for one step.

    ``refuse``: nothing is written. ``slices``: readers see each key whole, and for a moment keys of two results.
    """

    REFUSE = "refuse"
    SLICES = "slices"


class HashPublisher:
    """Writes the hashes of one group of keys.

    The group's index, a sorted set, remembers its keys: nothing is searched for, whatever else the database holds. Its
    record, a hash beside it, says who owns the group and which version it has, also while it has no keys. There are two
    ways to order publications:

    - by a :class:`Version` that comes with the data: a lower one does not replace a higher one;
    - by when the data was read, which asks no clock: read the group's :meth:`state`, then the data, and publish with
      that state. If anybody has published in between, nothing is written, and the caller reads again. So whatever is
      published was read after the publication before it.

    And three ways to write: some thousand plain keys are staged, then renamed by one script, so that a reader sees the
    group as it was or as it is. Generations, of any size, are written under names of their own, then one small step
    leads readers there; the former generation expires a minute later. Large groups of plain keys go out in slices. No
    command holds the server for more than some milliseconds, and a writer or server that dies leaves what the next
    publication completes. See docs/adr/0011.

    :param client: connected to a server that is not a cluster.
    :param index_key: where the group's index is kept.
    :param template: makes the group's keys; what it cannot make is not removed.
    :param writer: who publishes.
    :param batch_size: hashes sent in one command, at the most.
    :param layout: how the keys are named.
    :param large_groups: what is done with plain keys that are too many for one step.
    :param foreign_keys: what is done with values of other types in the place of the index or of a hash, unless the
        group has written that hash itself.
    """

    def __init__(
        self,
        client: redis.Redis,
        index_key: str,
        *,
        template: KeyTemplate,
        writer: Writer,
        batch_size: int = 500,
        layout: Layout = Layout.KEYS,
        large_groups: LargeGroups = LargeGroups.REFUSE,
        foreign_keys: ForeignKeys = ForeignKeys.REFUSE,
    ) -> None:
        self._client = client
        self._writer = writer
        self._template = registry_entry(template)
        self._batch_size = batch_size
        self._layout = layout
        self._large_groups = large_groups
        self._scripts = GroupScripts(client, index_key)
        self._checks = GroupChecks(client, self._scripts, template, foreign_keys)

    def state(self) -> GroupState:
        """Return the group's state as it is before its data is read.

        :raises GroupRefusedError: if the group is not this writer's.
        :raises redis.RedisError: on a server or network error.
        """
        view = self._look()
        view.require_writer(self._writer)
        self._checks.require_own_index(view)
        return GroupState(view.state)

    @property
    def reset_command(self) -> str:
        """The command that makes the group forget its version."""
        return GroupView(self._scripts.index_key).reset_command

    def publish(
        self,
        keys: Sequence[str],
        fields: Sequence[str],
        columns: Sequence[Sequence[str | None]],
        *,
        version: Version | GroupState,
        expire_seconds: int,
    ) -> Publication:
        """Make the group hold exactly these keys.

        :param keys: the keys, each once.
        :param fields: the names of the fields.
        :param columns: the values field by field, each in the order of the keys; None leaves the field out, and a row
            of None its key.
        :param version: orders publications: a group published with a higher version stays as it is, and one that is no
            longer in the state that was read as well.
        :param expire_seconds: seconds after which keys and index expire.
        :raises ValueError: if a key is there twice, or is one that the group itself is kept by; nothing is written
            then.
        :raises GroupRefusedError: if the group, one of the keys or what is in their place is not this writer's, or the
            group is too large; readers see no change then.
        :raises redis.RedisError: on a server or network error; the group is then as it was or as it shall be, or, in
            slices, a mixture until it is published again.
        """
        rows = HashRows(keys, fields, columns)
        self._require_keys_beside(rows.keys)
        request = PublicationRequest(
            rows=rows,
            version=version,
            expire_seconds=expire_seconds,
            token=uuid.uuid4().hex,
            writer=self._writer,
            template=self._template,
            batch_size=self._batch_size,
        )
        one_step = OneStep(self._client, self._scripts, request)
        try:
            done = self._until_unchanged(request, one_step)
        finally:
            one_step.discard()
        return replace(done, left_out=len(rows.left_out), left_out_names=tuple(rows.left_out[:10]))

    def _until_unchanged(self, request: PublicationRequest, one_step: OneStep) -> Publication:
        """Look and publish, again while the group changes in between."""
        for _ in range(_ATTEMPTS):
            view = self._look()
            view.require_writer(self._writer)
            newer = request.superseded_by(view)
            if newer is not None:
                return Publication(0, 0, superseded_by=newer)
            if self._layout is Layout.GENERATIONS:
                done = self._publish_generation(request, view)
            else:
                done = self._publish_keys(request, view, one_step)
            if done is not None:
                return done
        raise GroupRefusedError(
            f"{one_line(self._scripts.index_key)}: others have written the group, or one of its keys, at each of"
            f" {_ATTEMPTS} attempts to publish it"
        )

    def _publish_generation(self, request: PublicationRequest, view: GroupView) -> Publication | None:
        index = self._checks.require_own_index(view)
        former = publish_generation(self._scripts, request, view, index)
        if former is None:
            return None
        removed = retire_former(self._scripts, request, self._look(), former)
        return request.published(removed, len(index.replaced), index.replaced)

    def _publish_keys(self, request: PublicationRequest, view: GroupView, one_step: OneStep) -> Publication | None:
        index = self._checks.require_own_index(view)
        former_size = view.index_size if index.is_own else 0
        is_large = max(len(request.rows), former_size) > MOST_KEYS
        if is_large and self._large_groups is LargeGroups.REFUSE:
            raise GroupRefusedError(
                f"{one_line(self._scripts.index_key)}: {len(request.rows)} keys ({former_size} are there) are too many"
                f" for one step, in which all clients of Valkey wait: {MOST_KEYS} are the most. Say"
                ' layout="generations" (readers see whole groups of any size, by way of a pointer) or'
                ' large_groups="slices" (plain keys, for a moment of two results), or split the group'
            )
        check = self._checks.require_free_keys(request.rows.keys, index)
        removed = publish_in_slices(self._scripts, request, view, check) if is_large else one_step.publish(view, check)
        if removed is None:
            return None
        if removed < 0:
            return overtaken(self._look())
        if view.record:
            # Readers of generations were led to the last one until now.
            removed += retire_former(self._scripts, request, self._look(), view.generation or None)
        return request.published(removed, check.replaced, check.replaced_names)

    def _look(self) -> GroupView:
        return GroupView.from_answer(self._scripts.index_key, self._scripts.run("look_at_group", []))

    def _require_keys_beside(self, keys: Sequence[str]) -> None:
        """:raises ValueError: if a key is one that the group is kept by."""
        if taken := set(self._scripts.own_keys).intersection(keys):
            raise ValueError(
                f"key {min(taken)!r} is one that the group itself is kept by (index {self._scripts.index_key!r}):"
                " choose another index_key or key_template"
            )
