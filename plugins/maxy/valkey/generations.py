"""Publish a group of hashes as a generation: names of its own, then one step that leads readers there."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from maxy.text import decoded, one_line
from maxy.valkey.group_scripts import KEYS_AT_ONCE
from maxy.valkey.group_view import GroupRefusedError, GroupView
from maxy.valkey.groups import generation_key
from maxy.valkey.slices import write_in_slices

if TYPE_CHECKING:
    from maxy.valkey.group_checks import IndexCheck
    from maxy.valkey.group_scripts import GroupScripts
    from maxy.valkey.publication import PublicationRequest

# Readers that have begun with a former generation have so long to finish.
_GRACE_MS = 60_000
# The keys of a former generation expire one after the other, 20,000 a second: where very many expire at once, removing
# them keeps Valkey busy for a quarter of each tenth of a second.
_GRACE_MS_PER_KEY = 0.05


def publish_generation(
    scripts: GroupScripts, request: PublicationRequest, view: GroupView, index: IndexCheck
) -> str | bool | None:
    """Write a generation, and lead readers to it.

    :return: the generation before, empty for plain keys; True if there was none; None if the group has changed, with
        nothing changed for readers.
    :raises GroupRefusedError: if a key is there that nobody but another group can have written, or if the first keys
        have expired before the last ones were written.
    """
    note = request.note(view.next_sequence)
    # A group of before records keeps its state until this is published.
    fields = {} if view.is_recorded else {"sequence": view.state}
    first = GroupView(scripts.index_key).next_sequence
    arguments: list[str | int] = [first, note, request.record_seconds, request.template, json.dumps(fields)]
    generation = str(scripts.run("begin_generation", arguments))
    began = time.monotonic()
    if not write_in_slices(
        scripts, request, guard=(f"writing:{generation}", note), score=generation, generation=generation
    ):
        return None
    if time.monotonic() - began >= request.expire_seconds:
        raise GroupRefusedError(
            f"{one_line(scripts.index_key)}: it took {time.monotonic() - began:.0f} s to write the keys, and they"
            f" expire after {request.expire_seconds} s: expire= is too short"
        )
    done, *former = scripts.run(
        "switch_generation",
        [
            view.state,
            request.record(view.next_sequence, token=request.token),
            generation,
            len(request.rows),
            request.record_seconds,
            request.template,
            int(index.is_own),
        ],
        keys=[generation_key(scripts.index_key, generation)],
    )
    if not done:
        _retire(scripts, generation, generation)
        return None
    return True if not former or former[0] is None else decoded(former[0])


def retire_former(
    scripts: GroupScripts, request: PublicationRequest, view: GroupView, former: str | bool | None
) -> int:
    """Let the keys of former generations and layouts expire, also those of writers that died.

    :param view: the group after this publication.
    :param former: the generation that readers were led to before, empty for plain keys; True or None if there was none.
    :return: how many keys of that one the group no longer has.
    """
    removed = 0
    for field, note in view.record.items():
        kind, _, generation = field.partition(":")
        if kind == "retiring" or (kind == "writing" and request.keeps_out(note)):
            gone = _retire(scripts, generation, view.generation)
            removed += gone if generation == former else 0
    return removed


def _retire(scripts: GroupScripts, generation: str, current: str) -> int:
    """Let the keys of a generation expire.

    :return: how many of them are not in the current one.
    """
    indexes = [generation_key(scripts.index_key, name) for name in (generation, current)]
    gone = offset = 0
    while True:
        arguments: list[str | int | float] = [generation, offset, KEYS_AT_ONCE, _GRACE_MS, _GRACE_MS_PER_KEY]
        count, without = scripts.run_slice("retire_slice", arguments, keys=indexes)
        if count <= 0:
            return gone
        gone += without
        offset += count
