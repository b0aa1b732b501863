"""Write hashes in slices, none of which holds the server for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maxy.text import decoded, one_line
from maxy.valkey.group_scripts import KEYS_AT_ONCE
from maxy.valkey.group_view import GroupRefusedError
from maxy.valkey.groups import generation_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from maxy.valkey.group_checks import KeyCheck
    from maxy.valkey.group_scripts import GroupScripts
    from maxy.valkey.group_view import GroupView
    from maxy.valkey.publication import PublicationRequest


def write_in_slices(
    scripts: GroupScripts,
    request: PublicationRequest,
    *,
    guard: tuple[str, str],
    score: str,
    generation: str = "",
    may_replace: Callable[[int], bool] = lambda _: False,
) -> bool:
    """Write all rows of a request.

    :param guard: a field of the group's record, and what must be in it while this writer may write.
    :param score: of the keys in their index.
    :param generation: of the keys; empty for plain ones.
    :param may_replace: whether the key at a position may take the place of what the group has not written.
    :return: False if this writer was overtaken.
    :raises GroupRefusedError: if something of somebody else's is in a key's place by now.
    """
    rows, index = request.rows, generation_key(scripts.index_key, generation)
    suffix = generation_key("", generation)
    head: list[str | int] = [
        *guard,
        suffix,
        score,
        request.expire_seconds,
        request.absent,
        len(rows.fields),
        *rows.fields,
    ]
    for part in request.slices(KEYS_AT_ONCE):
        arguments = list(head)
        for position, values in zip(part, rows.values(part, request.absent), strict=True):
            arguments += (rows.keys[position], int(may_replace(position)), *values)
        done: Any = scripts.run_slice("write_slice", arguments, keys=[index])
        if done == 0:
            return False
        if done != 1:
            raise GroupRefusedError(
                f"{one_line(scripts.index_key)}: key {one_line(decoded(done))} is there, and this group has not written"
                " it: somebody else must have done so meanwhile"
            )
    return True


def publish_in_slices(
    scripts: GroupScripts, request: PublicationRequest, view: GroupView, check: KeyCheck
) -> int | None:
    """Publish a group of plain keys: each is whole at every moment, and the group is a mixture until the end.

    The record says that a publication is running. Of two writers at once, the one that has begun last goes on.

    :return: how many keys were removed; None if the group has changed, with nothing changed here; -1 if another writer
        has begun since.
    """
    sequence, token = view.next_sequence, request.token
    begun = scripts.run(
        "begin_slices",
        [
            view.state,
            request.record(sequence, running=token, index_sequence=sequence),
            request.expire_seconds,
            request.record_seconds,
            request.template,
            int(check.is_own_index),
        ],
    )
    if not begun:
        return None
    guard = ("running", token)
    if not write_in_slices(scripts, request, guard=guard, score=sequence, may_replace=check.may_replace):
        return -1
    removed = 0
    while count := int(scripts.run_slice("remove_slice", [token, sequence, KEYS_AT_ONCE])):
        if count < 0:
            return -1
        removed += count
    return removed if scripts.run("end_slices", [token, request.expire_seconds]) else -1
