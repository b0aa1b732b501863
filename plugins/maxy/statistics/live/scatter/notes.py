"""What a step has done to the sample, written down for a copy that takes over.

A note is a line of JSON (``sequence``, ``keys``, ``added``: how many points), followed by the added points, 24 bytes
each, and the identities of the points that made room, 8 bytes each.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from maxy.statistics.live.scatter.window_sample import Entries, WindowSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from maxy.statistics.live.scatter.window_sample import Key

_ADDED = np.dtype([("identity", "<u8"), ("arrival", "<i8"), ("pair", "<i4"), ("mark", "<u4")])


def pack_step(sequence: int, keys: Sequence[Key], added: Entries, displaced: Entries) -> bytes:
    """Write down what a step did, for a copy that takes over.

    :param sequence: grows from step to step.
    :param keys: of the added points.
    :param added: points; their pairs are numbered by the order of ``keys``.
    :param displaced: points that made room.
    """
    head = {
        "sequence": sequence,
        # Names may hold any bytes, JSON only text.
        "keys": [[package.decode("utf-8", "surrogateescape"), server_type] for package, server_type in keys],
        "added": len(added),
    }
    records = np.empty(len(added), _ADDED)
    for name in _ADDED.names or ():
        records[name] = getattr(added, name)
    return b"\n".join((json.dumps(head).encode(), records.tobytes() + displaced.identity.astype("<u8").tobytes()))


def unpack_steps(steps: Iterable[bytes], caps: Sequence[int]) -> tuple[WindowSample, int]:
    """Read what steps did.

    :param steps: in any order.
    :param caps: of the sample.
    :return: the sample after them, aged points included, and the newest step's sequence; -1 without steps.
    :raises ValueError: for something that :func:`pack_step` has not written.
    """
    sample = WindowSample(caps)
    parts = []
    for step in steps:
        head, _, body = step.partition(b"\n")
        parts.append((json.loads(head), body))
    parts.sort(key=lambda part: int(part[0]["sequence"]))
    events, is_added = [Entries.none()], [np.empty(0, np.bool_)]
    for head, body in parts:
        size = head["added"] * _ADDED.itemsize
        added, displaced = _added(sample, head["keys"], body[:size]), _displaced(body[size:])
        events += [added, displaced]
        is_added += [np.ones(len(added), np.bool_), np.zeros(len(displaced), np.bool_)]
    sample.restore(_last_events(events, np.concatenate(is_added)))
    return sample, int(parts[-1][0]["sequence"]) if parts else -1


def _added(sample: WindowSample, keys: Sequence[tuple[str, int]], body: bytes) -> Entries:
    records = np.frombuffer(body, _ADDED)
    firsts = [sample.pair((name.encode("utf-8", "surrogateescape"), server), 0) for name, server in keys]
    pairs = np.array(firsts, np.int32)[records["pair"] // sample.bands] + records["pair"] % sample.bands
    return Entries(records["identity"], records["arrival"], pairs.astype(np.int32), records["mark"])


def _displaced(body: bytes) -> Entries:
    identity = np.frombuffer(body, "<u8")
    nothing = np.zeros(len(identity), np.int64)
    return Entries(identity, nothing, nothing.astype(np.int32), nothing.astype(np.uint32))


def _last_events(events: Sequence[Entries], is_added: NDArray[np.bool_]) -> Entries:
    """Return the points whose last event is that they were added, in the order of their identities."""
    identity = np.concatenate([entries.identity for entries in events])
    order = np.argsort(identity, kind="stable")
    last = np.ones(len(order), np.bool_)
    last[:-1] = identity[order][1:] != identity[order][:-1]
    places = order[last & is_added[order]]
    return Entries(
        identity[places],
        np.concatenate([entries.arrival for entries in events])[places],
        np.concatenate([entries.pair for entries in events])[places],
        np.concatenate([entries.mark for entries in events])[places],
    )
