"""A tick's work, cut into steps of bounded size: each is one call to Valkey, for which other clients wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from maxy.statistics.live.scatter.window_sample import Entries

# A key costs about as much as some points.
_KEY_WEIGHT = 5


@dataclass(frozen=True)
class Piece:
    """What one call does to one key.

    :param key: its number.
    :param is_first: whether it is the first piece of the key.
    :param is_last: whether it is the last one.
    :param added: which of the new points.
    :param displaced: which of the points that make room.
    """

    key: int
    is_first: bool
    is_last: bool
    added: slice
    displaced: slice


@dataclass(frozen=True)
class Plan:
    """A tick's work, in the order of the keys' numbers.

    :param texts: of the new points.
    :param filled: whether a key still has points of former ticks, by its number.
    :param counts: of each key's bands then.
    :param newest: newest arrival of each key.
    """

    added: Entries
    texts: Sequence[bytes]
    displaced: Entries
    filled: NDArray[np.bool_]
    counts: NDArray[np.intp]
    newest: NDArray[np.int64]


def cut_into_steps(
    keys: NDArray[np.intp], plan: Plan, aged: NDArray[np.intp], *, bands: int, most_points: int
) -> Iterator[list[Piece]]:
    """Cut a tick's work into steps.

    :param keys: the numbers of those that are touched, in order.
    :param plan: what becomes of them.
    :param aged: number of points that have aged out, by the key's number.
    :param bands: their number.
    :param most_points: of a step.
    """
    step: list[Piece] = []
    weight = 0
    for piece in _pieces(keys, plan, bands, most_points):
        cost = _KEY_WEIGHT + (piece.added.stop - piece.added.start) + (piece.displaced.stop - piece.displaced.start)
        cost += int(aged[piece.key]) if piece.is_first else 0
        if step and weight + cost > most_points:
            yield step
            step, weight = [], 0
        step.append(piece)
        weight += cost
    if step:
        yield step


def _pieces(keys: NDArray[np.intp], plan: Plan, bands: int, most_points: int) -> Iterator[Piece]:
    added_keys, displaced_keys = plan.added.pair // bands, plan.displaced.pair // bands
    bounds = [
        np.searchsorted(of, keys, side).tolist() for of in (added_keys, displaced_keys) for side in ("left", "right")
    ]
    for key, added, added_end, displaced, displaced_end in zip(keys.tolist(), *bounds, strict=True):
        longest = max(added_end - added, displaced_end - displaced, 1)
        for start in range(0, longest, most_points):
            stop = start + most_points
            yield Piece(
                key,
                is_first=start == 0,
                is_last=stop >= longest,
                added=slice(min(added + start, added_end), min(added + stop, added_end)),
                displaced=slice(min(displaced + start, displaced_end), min(displaced + stop, displaced_end)),
            )
