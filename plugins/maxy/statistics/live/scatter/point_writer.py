"""Write the points of a live scatter to Valkey, and read from there which ones it shows."""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maxy.clock import to_ms
from maxy.instants import utc_iso
from maxy.statistics.live.scatter.notes import pack_step, unpack_steps
from maxy.statistics.live.scatter.protocol import key_words, step_arguments
from maxy.statistics.live.scatter.steps import Plan, cut_into_steps
from maxy.statistics.live.scatter.window_sample import Entries, WindowSample
from maxy.valkey.own_keys import is_wrong_type, stored_number
from maxy.valkey.scripts import read_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from maxy.loops.loop import LoopEnvironment
    from maxy.statistics.live.scatter.steps import Piece
    from maxy.statistics.live.scatter.window_sample import Change, Key
    from maxy.valkey.keys import KeyTemplate

_log = logging.getLogger(__name__)

#: Where its scripts are.
LUA = Path(__file__).parent / "lua"
_SLACK_MS = 60_000
_STATE_VERSION = 1
# Server type, newest arrival, and the count of each band.
_Meta = tuple[int | str, ...]


@dataclass
class Points:
    """What is known of the points that are shown.

    :param sample: the points.
    :param until_ms: rows inserted before this instant were read, if they were visible; 0 before the first ones.
    :param sequence: of the newest step that was noted.
    :param damaged: somebody else has removed points; they must be read anew.
    """

    sample: WindowSample
    until_ms: int = 0
    sequence: int = -1
    damaged: bool = False


@dataclass(frozen=True)
class Written:
    """:param points: new points.

    :param keys: keys that were touched.
    """

    points: int
    keys: int


class PointWriter:
    """Keeps the sorted sets, the hashes beside them, and notes of what was done.

    A tick is written in steps of bounded size. Each is atomic and notes what it does to the sample, so a tick that ends
    amid its steps has done part of its work, and the next one finds what is missing, by reading the rows again. Only
    after the last step the state moves on. What holds in between is said in :mod:`maxy.statistics.live.scatter`.

    :param environment: clients and settings.
    :param template: of the sorted sets' keys; the hash beside it has ``:meta`` behind that.
    :param own_key: names private keys.
    :param bands: the cap of each band, by its name.
    :param window_ms: for how long a point is shown.
    :param step_points: what one call to Valkey handles: other clients wait for some milliseconds.
    """

    def __init__(
        self,
        environment: LoopEnvironment,
        template: KeyTemplate,
        *,
        own_key: Callable[[str], str],
        bands: Mapping[str, int],
        window_ms: int,
        step_points: int,
    ) -> None:
        self._environment = environment
        self._template = template
        self._caps = list(bands.values())
        self._counts = [f"points_{band}" for band in bands]
        self._window_ms = window_ms
        self._step_points = step_points
        self._state_key, self._notes_key = own_key("state"), own_key("notes")
        # They outlive the points, whose arrival may lie in the future by a window.
        self._notes_ttl_ms = 2 * window_ms + 2 * _SLACK_MS
        self._write_points = environment.lease.script(read_script("write_points", directory=LUA))
        self._finish_points = environment.lease.script(read_script("finish_points", directory=LUA))
        self._forget = environment.lease.script(read_script("forget_points", directory=LUA))

    async def load(self) -> Points:
        """Return what Valkey knows; nothing, with ``until_ms`` 0, where it does not know all of it.

        :raises TypeError: for a client that decodes answers.
        :raises maxy.valkey.lease.LeaseLost: another copy holds the lease.
        """
        async with self._environment.valkey.pipeline(transaction=True) as pipeline:
            pipeline.get(self._state_key)
            pipeline.zrange(self._notes_key, 0, -1)
            answers = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not is_wrong_type(answer):
                raise answer
        # What has another type is replaced when all is forgotten.
        packed, notes = (None if isinstance(answer, Exception) else answer for answer in answers)
        if isinstance(packed, str):
            raise TypeError("a scatter's notes are binary: a client without decode_responses is needed")
        points = self._unpacked(packed, notes) if packed is not None and notes is not None else None
        if points is None:
            await self._start_anew()
        return points or Points(WindowSample(self._caps))

    def _unpacked(self, packed: bytes, notes: Sequence[bytes]) -> Points | None:
        """Read state and notes; None if they do not say all, or cannot be read."""
        key = self._state_key
        try:
            state = json.loads(packed)
            if state["version"] != _STATE_VERSION:
                return None
            until_ms, cutoff_ms, count = (stored_number(state[name]) for name in ("until_ms", "cutoff_ms", "points"))
            key = self._notes_key
            sample, sequence = unpack_steps(notes, self._caps)
            if len(sample.identities_since(cutoff_ms)) < count:
                return None
        # Whatever bytes may be there: it will not get better by trying again.
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            self._environment.lease.replaced.add_unreadable(key, f"{type(error).__name__}: {error}")
            return None
        return Points(sample, until_ms, sequence)

    async def write(
        self, points: Points, candidates: Entries, texts: Sequence[bytes], now: datetime, until_ms: int
    ) -> Written:
        """Write what rows change, and take out what has aged.

        :param points: is brought up to date.
        :param candidates: the rows, known ones among them.
        :param texts: their texts.
        :param now: the present instant.
        :param until_ms: up to when all rows have been read then.
        :raises maxy.valkey.lease.LeaseLost: another copy holds the lease; nothing more was written.
        :raises redis.RedisError: on a server or network error; ``points`` must not be used any more.
        """
        sample, cutoff = points.sample, to_ms(now) - self._window_ms
        change = sample.change(candidates, cutoff)
        added, texts = _accepted(change, candidates, texts)
        sample.apply(change, added)
        touched = change.aged > 0
        touched[added.pair // sample.bands] = True
        touched[change.displaced.pair // sample.bands] = True
        by_key = np.argsort(added.pair // sample.bands, kind="stable")
        plan = Plan(
            added.take(by_key),
            [texts[place] for place in by_key.tolist()],
            change.displaced.take(np.argsort(change.displaced.pair // sample.bands, kind="stable")),
            change.filled,
            sample.counts(),
            sample.newest,
        )
        keys = np.flatnonzero(touched)
        metas = self._metas(points, keys, plan)
        for pieces in cut_into_steps(keys, plan, change.aged, bands=sample.bands, most_points=self._step_points):
            await self._step(points, pieces, plan, metas, now)
        await self._finish(points, cutoff, until_ms)
        self._log(points, keys, metas)
        return Written(len(added), len(keys))

    async def _step(
        self,
        points: Points,
        pieces: Sequence[Piece],
        plan: Plan,
        metas: Mapping[int, _Meta],
        now: datetime,
    ) -> None:
        names = self._names([points.sample.keys[piece.key] for piece in pieces])
        keys: list[Any] = [self._notes_key, *(key for name in names for key in (name, name + b":meta"))]
        score, note = self._note(points, pieces, plan)
        arguments = step_arguments(
            cutoff_ms=to_ms(now) - self._window_ms,
            now=utc_iso(now),
            notes_ttl_ms=self._notes_ttl_ms,
            note_score=score,
            note=note,
            counts=self._counts,
            words=self._words(pieces, plan, metas, to_ms(now)),
            texts=plan.texts[pieces[0].added.start : pieces[-1].added.stop],
            packages=[points.sample.keys[piece.key][0] for piece in pieces],
        )
        lost = await self._environment.lease.run(self._write_points, keys, arguments)
        if lost:
            self._environment.log.log(
                _log, logging.WARNING, "%d keys of points were removed by somebody else; all points are read anew", lost
            )
            points.damaged = True

    def _words(
        self, pieces: Sequence[Piece], plan: Plan, metas: Mapping[int, _Meta], now_ms: int
    ) -> Iterator[int | str]:
        """Yield the words of each key."""
        for piece in pieces:
            yield from key_words(
                filled=bool(plan.filled[piece.key]) or not piece.is_first,
                ttl_ms=self._window_ms + _SLACK_MS + max(0, int(plan.newest[piece.key]) - now_ms),
                is_last=piece.is_last,
                meta=metas[piece.key],
                displaced=plan.displaced.take(piece.displaced),
                arrivals=plan.added.arrival[piece.added].tolist(),
            )

    def _note(self, points: Points, pieces: Sequence[Piece], plan: Plan) -> tuple[int, bytes]:
        """Return what to remember of a step, and until when, as the newest arrival in it."""
        added = plan.added.take(slice(pieces[0].added.start, pieces[-1].added.stop))
        displaced = plan.displaced.take(slice(pieces[0].displaced.start, pieces[-1].displaced.stop))
        if not len(added) and not len(displaced):
            return 0, b""
        points.sequence += 1
        bands = points.sample.bands
        numbers = np.array([piece.key for piece in pieces], np.int32)
        pair = np.searchsorted(numbers, added.pair // bands) * bands + added.pair % bands
        note = pack_step(
            points.sequence,
            [points.sample.keys[number] for number in numbers.tolist()],
            Entries(added.identity, added.arrival, pair.astype(np.int32), added.mark),
            displaced,
        )
        return int(max(np.max(part.arrival, initial=0) for part in (added, displaced))), note

    async def _finish(self, points: Points, cutoff: int, until_ms: int) -> None:
        if points.damaged:
            await self._start_anew()
            return
        points.until_ms = until_ms
        state = {
            "version": _STATE_VERSION,
            "until_ms": until_ms,
            "cutoff_ms": cutoff,
            "points": len(points.sample.entries),
        }
        await self._environment.lease.run(
            self._finish_points,
            [self._state_key, self._notes_key],
            [json.dumps(state), self._notes_ttl_ms, cutoff],
        )

    async def _start_anew(self) -> None:
        """Forget what is noted; whoever writes a key next then removes what is in it."""
        await self._environment.lease.run(self._forget, [self._state_key, self._notes_key], [])

    def _names(self, keys: Sequence[Key]) -> list[bytes]:
        # Names may hold any bytes.
        packages = [package.decode("utf-8", "surrogateescape") for package, _ in keys]
        servers = [str(server_type) for _, server_type in keys]
        return [name.encode("utf-8", "surrogateescape") for name in self._template.keys([packages, servers])]

    @staticmethod
    def _metas(points: Points, keys: NDArray[np.intp], plan: Plan) -> dict[int, _Meta]:
        """Return server type, newest arrival and counts of keys."""
        newest = np.datetime_as_string(plan.newest[keys].astype("datetime64[ms]"), unit="us").tolist()
        return {
            key: (points.sample.keys[key][1], f"{instant}Z", *counts)
            for key, instant, counts in zip(keys.tolist(), newest, plan.counts[keys].tolist(), strict=True)
        }

    def _log(self, points: Points, keys: NDArray[np.intp], metas: Mapping[int, _Meta]) -> None:
        room = self._environment.log.room_for_values(self._environment.settings, len(keys))
        logged = keys[:room].tolist()
        names = self._names([points.sample.keys[key] for key in logged])
        for name, key in zip(names, logged, strict=True):
            values = zip(("last_reg_dt", *self._counts), metas[key][1:], strict=True)
            _log.info("%s:meta %s", name.decode("utf-8", "replace"), dict(values))
        if 0 < room < len(keys):
            _log.info("… and %d more keys", len(keys) - len(logged))


def _accepted(change: Change, candidates: Entries, texts: Sequence[bytes]) -> tuple[Entries, list[bytes]]:
    """Return the new points in the order of their identities, with their check sums, and their texts."""
    chosen = [texts[place] for place in change.accepted.tolist()]
    if len(set(chosen)) < len(chosen):
        # Rows that differ in nothing that is shown. A set holds a text once; a space makes no difference to JSON.
        seen: Counter[bytes] = Counter()
        for place, text in enumerate(chosen):
            chosen[place] = text + b" " * seen[text]
            seen[text] += 1
    rows = candidates.take(change.accepted)
    marks = np.fromiter(map(zlib.crc32, chosen), np.uint32, len(chosen))
    return Entries(rows.identity, rows.arrival, rows.pair, marks), chosen
