"""Which points a live scatter shows: per key and band those with the smallest hashes, as arrays that stay small.

A scatter of a busy installation shows a million points. What must be known of each to recognise a repeat, to let it age
and to find it again are 24 bytes, so they are kept in numpy's arrays and not in objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: The package's name, as the source has it, and the server type.
Key = tuple[bytes, int]

_LARGEST = 2**64 - 1
# How many standard deviations more than the expected number of points are asked for where some have aged out.
_SPARE = 2.5
# A pair that loses more than this share of its points at once is not full any more in a way that could be foretold.
_MOST_AGED = 0.25


@dataclass(frozen=True)
class Entries:
    """Points, column by column.

    :param identity: a hash of what makes the row one event; at the same time the point's place in the sample.
    :param arrival: its time of insertion, in milliseconds since 1970.
    :param pair: number of its key, times the number of bands, plus its band.
    :param mark: a check sum of its text, to tell it from others of the same millisecond.
    """

    identity: NDArray[np.uint64]
    arrival: NDArray[np.int64]
    pair: NDArray[np.int32]
    mark: NDArray[np.uint32]

    @classmethod
    def none(cls) -> Entries:
        """Return no points at all."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint32))

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Entries:
        """Return some of them, by a mask, by their places or as a slice."""
        return Entries(self.identity[which], self.arrival[which], self.pair[which], self.mark[which])

    def changed(self, keep: NDArray[np.bool_], others: Entries) -> Entries:
        """Return some of these, and others, in the order of their identities, in which both must be.

        :param keep: which of these.
        :param others: none of them among these.
        """
        if not len(others):
            return self if keep.all() else self.take(keep)
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        places = kept_before[np.searchsorted(self.identity, others.identity)] + np.arange(len(others))
        is_other = np.zeros(int(kept_before[-1]) + len(others), np.bool_)
        is_other[places] = True
        is_kept = ~is_other

        def woven(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
            column = np.empty(len(is_other), mine.dtype)
            column[is_kept] = mine[keep]
            column[places] = theirs
            return column

        return Entries(
            woven(self.identity, others.identity),
            woven(self.arrival, others.arrival),
            woven(self.pair, others.pair),
            woven(self.mark, others.mark),
        )


@dataclass(frozen=True)
class Change:
    """What a step does to the sample.

    :param accepted: places of the candidates that become points, in the order of their identities.
    :param displaced: points that make room for them.
    :param kept: which of the points stay, that is, neither make room nor have aged out.
    :param aged: number of points that are older than the window, by the key's number.
    :param filled: whether a key has points that are not, before any makes room; by its number.
    """

    accepted: NDArray[np.intp]
    displaced: Entries
    kept: NDArray[np.bool_]
    aged: NDArray[np.intp]
    filled: NDArray[np.bool_]


class WindowSample:
    """The points that are shown, without their texts.

    Of each key's points of a band, those with the smallest identities are kept, as many as the band's cap says. As the
    identity is a hash, that is a sample spread evenly over all rows, the same however often a row is read; and below
    the cap it is every row.

    :param caps: points per key, for each band.
    """

    def __init__(self, caps: Sequence[int]) -> None:
        self._caps = np.array(caps, np.int64)
        self._numbers: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._hashes: dict[int, int] = {}
        self.entries = Entries.none()
        # Points of each pair. Counted on, since there may be a million to count.
        self._totals = np.zeros(0, np.int64)
        #: The newest arrival of each key, by its number.
        self.newest = np.zeros(0, np.int64)

    @property
    def bands(self) -> int:
        """The number of bands."""
        return len(self._caps)

    @property
    def keys(self) -> Sequence[Key]:
        """The keys by their numbers."""
        return self._keys

    def pair(self, key: Key, band: int, pair_hash: int | None = None) -> int:
        """Return the number of a key's band.

        :param pair_hash: how the statement calls it, for :meth:`thresholds`.
        """
        number = self._numbers.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
        pair = number * self.bands + band
        if pair_hash is not None:
            self._hashes[pair] = pair_hash
        return pair

    def thresholds(self, cutoff: int, most: int) -> dict[int, int]:
        """Return above which identity a row cannot become a point, for pairs that are full.

        Where points are about to age out, somewhat more rows are let through than are expected to take their places. If
        still too few come, the pair stays a few points short until the next step, which has no threshold for it.

        :param cutoff: points that arrived before are about to age out.
        :param most: pairs at the most.
        :return: the threshold by the pair's hash.
        """
        entries = self.entries
        counts, caps = self._pair_totals(), self._pair_caps()
        is_full = counts >= caps
        if not is_full.any():
            return {}
        aged = self._pair_counts(entries.pair[entries.arrival < cutoff])
        largest = np.zeros(len(counts), np.uint64)
        # They are in the order of identities, so the last one stays.
        largest[entries.pair] = entries.identity
        which = np.flatnonzero(is_full & (aged <= caps * _MOST_AGED))
        factors = 1 + _SPARE / np.sqrt(np.maximum(aged[which], 1))
        found: dict[int, int] = {}
        for pair, limit, room, factor in zip(
            which.tolist(), largest[which].tolist(), aged[which].tolist(), factors.tolist(), strict=True
        ):
            if pair in self._hashes and len(found) < most:
                found[self._hashes[pair]] = min(int(limit * factor), _LARGEST) if room else limit
        return found

    def change(self, candidates: Entries, cutoff: int) -> Change:
        """Return what becomes of the points when these rows come in.

        :param candidates: rows in any order; one may be among them several times, and among the points already.
        :param cutoff: points that arrived before are too old.
        """
        entries = self.entries
        kept = entries.arrival >= cutoff
        aged = self._pair_counts(entries.pair[~kept])
        counts = self._pair_totals() - aged
        places = self._new(candidates, kept, cutoff)
        accepted, displaced = self._chosen(kept, counts, candidates.take(places))
        kept[displaced] = False
        return Change(
            places[accepted],
            entries.take(displaced),
            kept,
            self._by_key(aged),
            self._by_key(counts) > 0,
        )

    def apply(self, change: Change, added: Entries) -> None:
        """Make a change.

        :param added: the accepted rows, in the order of their identities.
        """
        aged = self._pair_counts(self.entries.pair[~change.kept])
        self._totals = self._pair_totals() - aged + self._pair_counts(added.pair)
        self.entries = self.entries.changed(change.kept, added)
        self._saw(added)

    def identities_since(self, instant: int) -> NDArray[np.uint64]:
        """Return the identities of points that arrived at an instant or later."""
        return self.entries.identity[self.entries.arrival >= instant]

    def restore(self, entries: Entries) -> None:
        """Take points over, in the order of their identities."""
        self.entries = entries
        self._totals = self._pair_counts(entries.pair)
        self._saw(entries)

    def counts(self) -> NDArray[np.intp]:
        """Return the number of points, by key and band."""
        return self._pair_totals().reshape(-1, self.bands)

    def forget_idle_keys(self, most_idle: int) -> WindowSample:
        """Return this, or the same without the keys that have no points, once they are many.

        :param most_idle: so many are remembered at the least before they are forgotten together.
        """
        live = np.flatnonzero(self._by_key(self._pair_totals()))
        if len(self._keys) <= 2 * len(live) + most_idle:
            return self
        lean = WindowSample(self._caps.tolist())
        for number in live.tolist():
            for band in range(self.bands):
                lean.pair(self._keys[number], band, self._hashes.get(number * self.bands + band))
        numbers = np.zeros(len(self._keys), np.int32)
        numbers[live] = np.arange(len(live), dtype=np.int32)
        entries = self.entries
        pair = numbers[entries.pair // self.bands] * self.bands + entries.pair % self.bands
        lean.entries = Entries(entries.identity, entries.arrival, pair.astype(np.int32), entries.mark)
        lean.newest = self.newest[live]
        lean._totals = lean._pair_counts(lean.entries.pair)
        return lean

    def _saw(self, added: Entries) -> None:
        missing = len(self._keys) - len(self.newest)
        if missing:
            self.newest = np.concatenate([self.newest, np.zeros(missing, np.int64)])
        np.maximum.at(self.newest, added.pair // self.bands, added.arrival)

    def _pair_counts(self, pairs: NDArray[np.int32]) -> NDArray[np.intp]:
        return np.bincount(pairs, minlength=len(self._keys) * self.bands)

    def _pair_totals(self) -> NDArray[np.intp]:
        """Return the number of points of each pair, those of new keys included."""
        missing = len(self._keys) * self.bands - len(self._totals)
        if missing:
            self._totals = np.concatenate([self._totals, np.zeros(missing, np.int64)])
        return self._totals

    def _by_key(self, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
        sums: NDArray[np.intp] = pairs.reshape(-1, self.bands).sum(axis=1)
        return sums

    def _pair_caps(self) -> NDArray[np.int64]:
        return np.tile(self._caps, len(self._keys))

    def _new(self, candidates: Entries, kept: NDArray[np.bool_], cutoff: int) -> NDArray[np.intp]:
        """Return the places of the rows that are no points yet, each once, the earliest of its repeats."""
        order = np.lexsort((candidates.arrival, candidates.identity))
        order = order[candidates.arrival[order] >= cutoff]
        identity = candidates.identity[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = identity[1:] != identity[:-1]
        if len(kept):
            found = np.minimum(np.searchsorted(self.entries.identity, identity), len(kept) - 1)
            new &= (self.entries.identity[found] != identity) | ~kept[found]
        return order[new]

    def _chosen(
        self, kept: NDArray[np.bool_], counts: NDArray[np.intp], new: Entries
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return which of the new rows are accepted, and the places of the points they displace.

        :param kept: which of the points have not aged out.
        :param counts: their number in each pair.
        :param new: rows that are no points yet.
        """
        accepted = np.ones(len(new), np.bool_)
        new_counts = self._pair_counts(new.pair)
        excess = np.maximum(counts + new_counts - self._pair_caps(), 0)
        if not excess.any():
            return accepted, np.empty(0, np.intp)
        # Whatever makes room is among the last ones of its pair, in the order of identities.
        tails = np.minimum(counts, excess)
        among_kept, among_new = self._last_of_pairs(kept, tails), np.flatnonzero(excess[new.pair])
        pair = np.concatenate([self.entries.pair[among_kept], new.pair[among_new]])
        identity = np.concatenate([self.entries.identity[among_kept], new.identity[among_new]])
        order = np.lexsort((identity, pair))
        pair = pair[order]
        rank = np.arange(len(pair)) - np.searchsorted(pair, pair) + (counts - tails)[pair]
        out = order[rank >= self._caps[pair % self.bands]]
        accepted[among_new[out[out >= len(among_kept)] - len(among_kept)]] = False
        return accepted, np.sort(among_kept[out[out < len(among_kept)]])

    def _last_of_pairs(self, kept: NDArray[np.bool_], lengths: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the places of the last points of each pair that have not aged out, as many as ``lengths`` says."""
        places = np.flatnonzero(kept & (lengths > 0)[self.entries.pair])
        pair = self.entries.pair[places]
        # Sixteen bits are sorted far faster, and mostly suffice.
        order = np.argsort(pair.astype(np.uint16) if len(lengths) <= 2**16 else pair, kind="stable")
        ends = np.cumsum(np.bincount(pair, minlength=len(lengths)))
        starts = np.repeat(ends - lengths, lengths)
        within = np.arange(len(starts)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return places[order[starts + within]]
