"""The arguments of write_points.lua, whose head names them one by one: the other side of the same list."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maxy.statistics.live.scatter.window_sample import Entries

#: Grows with every change of the list: a script of another version refuses it, and writes nothing.
VERSION = 1


def key_words(
    *,
    filled: bool,
    ttl_ms: int,
    is_last: bool,
    meta: Sequence[int | str],
    displaced: Entries,
    arrivals: Sequence[int],
) -> Iterator[int | str]:
    """Yield the words of one key.

    :param filled: there should be points of it already.
    :param ttl_ms: milliseconds until it expires.
    :param is_last: this is the last that is told of it in this tick.
    :param meta: server type, newest arrival in ISO 8601, the count of each band.
    :param displaced: points to take out.
    :param arrivals: of the points to put in.
    """
    yield int(filled)
    yield ttl_ms
    yield int(is_last)
    yield from meta
    yield len(displaced)
    yield from chain.from_iterable(zip(displaced.arrival.tolist(), displaced.mark.tolist(), strict=True))
    yield len(arrivals)
    yield from arrivals


def step_arguments(
    *,
    cutoff_ms: int,
    now: str,
    notes_ttl_ms: int,
    note_score: int,
    note: bytes,
    counts: Sequence[str],
    words: Iterator[int | str],
    texts: Sequence[bytes],
    packages: Sequence[bytes],
) -> list[int | str | bytes]:
    """Return the arguments of one step.

    :param cutoff_ms: points that arrived before this instant are too old.
    :param now: the present instant in ISO 8601.
    :param notes_ttl_ms: milliseconds until the notes expire.
    :param note_score: the newest arrival of the points that the note speaks of.
    :param note: of the step; empty if there is none.
    :param counts: names of the bands' counts.
    :param words: of all keys, see :func:`key_words`.
    :param texts: of the points to put in, without line breaks.
    :param packages: of the keys.
    """
    return [
        VERSION,
        cutoff_ms,
        now,
        notes_ttl_ms,
        note_score,
        note,
        len(counts),
        *counts,
        " ".join(map(str, words)),
        # One argument, since each argument costs the client.
        b"\n".join(texts),
        *packages,
    ]
