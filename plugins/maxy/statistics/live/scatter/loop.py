"""Live scatters: the points of the last minutes, per package and server type, as sorted sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from maxy.clickhouse.sql_files import read_statement
from maxy.clock import from_ms, to_ms
from maxy.loops.loop import Loop, TickResult
from maxy.loops.options import Option, Rule, int_from, number_from
from maxy.loops.out_of_range_log import OutOfRangeLog
from maxy.loops.pruning import part_pruner
from maxy.statistics.live.scatter.point_writer import PointWriter
from maxy.statistics.live.scatter.window_sample import Entries
from maxy.statistics.row_rules import ROW_OPTIONS, row_structure
from maxy.valkey.keys import KeyTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import LoopEnvironment, Tick
    from maxy.statistics.live.scatter.point_writer import Points
    from maxy.statistics.live.scatter.window_sample import WindowSample

# What is new is read in slices if it is longer, so that a first tick needs little memory and keeps what it has done.
_SLICE_MS = 30_000
# Thresholds that are sent with a statement; ClickHouse takes 128 KiB for a parameter.
_MOST_THRESHOLDS = 2500
# Points that need not be read again, and how many of them fit into one parameter.
_MOST_KNOWN, _KNOWN_PER_TEXT = 60_000, 7500
# Points of 600 bytes each in Valkey.
_CAP = int_from(1, 1_000_000)
# Keys of which is remembered how many values were out of range.
_MOST_OUT_OF_RANGE = 1000
_BANDS = ("low", "normal", "slow")
_NORMAL_FROM, _NORMAL_TO = 100, 1500
_JSON_SETTINGS = {"output_format_json_quote_64bit_integers": 0, "output_format_json_escape_forward_slashes": 0}


@dataclass(frozen=True)
class _Rows:
    """What a statement has found.

    :param entries: the rows, with the check sums still missing.
    :param texts: their texts.
    :param left_out: new rows without package or server type.
    :param out_of_range: new rows whose value is out of range, by package and server type.
    """

    entries: Entries
    texts: Sequence[bytes]
    left_out: int
    out_of_range: Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class _Verbatim:
    """A parameter that needs no escaping, which the client otherwise does character by character."""

    text: str

    def __str__(self) -> str:
        return self.text


class ScatterLoop(Loop):
    """Keeps the points of the last ``window_seconds``.

    Values fall into three bands: low (below 100 ms), normal (100 to 1500 ms, both included), slow (above). Below a
    band's cap, every row of the window is a point; at the cap, the points are a sample, spread evenly over the rows of
    the window, see `WindowSample`. A row that came in twice (same ORDER BY key in the source) is one point, the first
    one, as long as that is shown.

    The points' texts are in Valkey alone. What must be known of them to recognise them again, and up to when the source
    was read, is kept there too and moves with them, so another copy goes on exactly there. Without it (a first start,
    an emptied server) the window is read anew.

    At the cap, points that age out make room, which rows that come in later fill; in a tick where fewer came than
    expected, some points may be missing until the next one.

    Exact as long as rows become visible within ``lateness_seconds`` of their ``reg_dt``.

    What is kept where, and what always holds of it, is said in :mod:`maxy.statistics.live.scatter`.

    :param environment: clients and settings.
    :param step_points: points that one call to Valkey handles at the most.
    :param most_idle: keys without points that are remembered before they are forgotten together.
    """

    period_seconds = 5.0
    #: Where the rows come from.
    table: ClassVar[str]
    #: The keys behind the prefix.
    key_template: ClassVar[str]
    #: The smallest value that is shown.
    low_from: ClassVar[int]
    options: ClassVar[Mapping[str, Option]] = {
        **ROW_OPTIONS,
        "window_seconds": Option(300.0, number_from(10, 86_400), "seconds for which a point is shown"),
        "lateness_seconds": Option(
            10.0, number_from(0, 3600), "seconds after its reg_dt in which a row may become visible"
        ),
        "low_cap": Option(2000, _CAP, "points below 100 ms that a key shows at the most"),
        "normal_cap": Option(2000, _CAP, "points from 100 to 1500 ms that a key shows at the most"),
        "slow_cap": Option(10_000, _CAP, "points above 1500 ms that a key shows at the most, for safety"),
    }
    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "window_seconds",
            "period_seconds",
            lambda settings: settings["window_seconds"] >= 2 * settings.period_seconds,
            "a point must be shown for two ticks",
        ),
        Rule(
            "window_seconds",
            "lateness_seconds",
            lambda settings: settings["window_seconds"] > settings["lateness_seconds"],
            "a row may come too late to be shown",
        ),
    )

    def __init__(self, environment: LoopEnvironment, *, step_points: int = 1000, most_idle: int = 1000) -> None:
        super().__init__(environment)
        settings = environment.settings
        self._most_idle = most_idle
        self._window_ms = int(settings["window_seconds"] * 1000)
        self._lateness_ms = int(settings["lateness_seconds"] * 1000)
        self._caps = [settings[f"{band}_cap"] for band in _BANDS]
        self._pruner = part_pruner(environment, self.table)
        self._writer = PointWriter(
            environment,
            KeyTemplate(self.key_template, prefix=f"{environment.prefix}:"),
            own_key=self.own_key,
            bands=dict(zip(_BANDS, self._caps, strict=True)),
            window_ms=self._window_ms,
            step_points=step_points,
        )
        self._points: Points | None = None
        self._rules = row_structure(settings)
        # Of this copy, since its start: by package and server type.
        self._out_of_range: Counter[tuple[str, int]] = Counter()
        self._out_of_range_log = OutOfRangeLog(self.name)

    def structure(self) -> dict[str, Any]:
        """Return what the statement's template needs to know."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return parameters of the statement's own."""
        return {}

    def reset(self) -> None:
        """Forget the points: the next tick learns of them from Valkey."""
        self._points = None
        self._pruner.forget()

    async def tick(self, tick: Tick) -> TickResult:
        """Read what has arrived, and move every key on that it concerns, or whose points have aged."""
        now_ms = to_ms(tick.now)
        cutoff = now_ms - self._window_ms
        # Whatever fails below, Valkey then knows better than this copy.
        points, self._points = self._points or await self._writer.load(), None
        if self.environment.settings["prune_parts"]:
            await self._pruner.look(tick.now)
        since = max(cutoff, min(points.until_ms - self._lateness_ms, now_ms))
        # Rows that only may come late are read at once: most of them are known, and stay out.
        is_long = now_ms - max(cutoff, points.until_ms) > _SLICE_MS
        limits = await self._first_thresholds(since, now_ms) if is_long else None
        total = TickResult()
        for first, last in self._slices(since, now_ms, _SLICE_MS if is_long else now_ms - since):
            rows = await self._read(
                points,
                first,
                last,
                limits if limits is not None else points.sample.thresholds(cutoff, _MOST_THRESHOLDS),
            )
            until_ms = min(last + 1, now_ms)
            written = await self._writer.write(points, rows.entries, rows.texts, tick.now, until_ms)
            total = TickResult(total.rows + written.points, total.keys + written.keys, total.left_out + rows.left_out)
            self._out_of_range.update(rows.out_of_range)
        points.sample = points.sample.forget_idle_keys(self._most_idle)
        self._points = None if points.damaged else points
        return replace(total, out_of_range=self._count_out_of_range(tick))

    def _count_out_of_range(self, tick: Tick) -> dict[str, int]:
        """Return how many values were left out since this copy's start, and warn of them."""
        if not self._out_of_range:
            return {}
        # The packages are the phones' to choose.
        self._out_of_range = Counter(dict(self._out_of_range.most_common(_MOST_OUT_OF_RANGE)))
        counts = {self.name: self._out_of_range.total()}
        self._out_of_range_log.report(counts, self._out_of_range.items(), tick.now)
        return counts

    def _slices(self, since: int, now_ms: int, longest: int) -> Iterator[tuple[int, int]]:
        """Yield the first and the last millisecond of what is read at once."""
        while now_ms - since > longest:
            yield since, since + longest - 1
            since += longest
        # Clocks differ, so a row may seem to come from the future.
        yield since, now_ms + self._window_ms

    async def _first_thresholds(self, since: int, now_ms: int) -> dict[int, int]:
        """Return the thresholds of a read so long that what it finds alone may fill a band."""
        statement, parameters = self._statement(since, now_ms + self._window_ms, {}, only_thresholds=True)
        result = await self.environment.clickhouse.select(statement, {**parameters, "caps": self._caps})
        pairs = zip(result["pair_hash"], result["threshold"], strict=True)
        return dict(list(pairs)[:_MOST_THRESHOLDS])

    async def _read(self, points: Points, first: int, last: int, thresholds: Mapping[int, int]) -> _Rows:
        known = points.sample.identities_since(first)[-_MOST_KNOWN:]
        statement, parameters = self._statement(first, last, thresholds, known=known)
        result = await self.environment.clickhouse.select(
            statement,
            {**parameters, "new_from_ms": max(first, points.until_ms)},
            string_as_bytes=True,
            settings=_JSON_SETTINGS,
        )
        return _rows(points.sample, result)

    def _statement(
        self,
        first: int,
        last: int,
        thresholds: Mapping[int, int],
        *,
        known: NDArray[np.uint64] | None = None,
        only_thresholds: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Return the statement and its parameters."""
        parameters: dict[str, Any] = {
            "since_ms": first,
            "until_ms": last,
            "low_from": self.low_from,
            "normal_from": _NORMAL_FROM,
            "normal_to": _NORMAL_TO,
            **self.parameters(),
        }
        if thresholds:
            parameters |= {"pairs": list(thresholds), "thresholds": list(thresholds.values())}
        known_texts = _known_texts(known) if known is not None else []
        if known is not None and known_texts:
            parameters |= {f"known_{place}": _Verbatim(text) for place, text in enumerate(known_texts)} | {
                "known": len(known)
            }
        prune_parts = self.environment.settings["prune_parts"]
        if prune_parts:
            parameters |= self._pruner.parameters(from_ms(first))
        statement = read_statement(
            f"statistics/live/{self.name}.sql",
            thresholds=bool(thresholds),
            only_thresholds=only_thresholds,
            known_texts=len(known_texts),
            prune_parts=prune_parts,
            metric=self.name,
            **self._rules,
            **self.structure(),
        )
        return statement, parameters


def _known_texts(known: NDArray[np.uint64]) -> list[str]:
    """Return identities as the statement takes them."""
    starts = range(0, len(known), _KNOWN_PER_TEXT)
    return [known[start : start + _KNOWN_PER_TEXT].astype("<u8").tobytes().hex() for start in starts]


def _rows(sample: WindowSample, result: Columns) -> _Rows:
    names = ("is_complete", "package_name", "server_number", "band", "pair_hash", "new_rows")
    groups = list(zip(*(result[name] for name in names), strict=True))
    pairs = [
        sample.pair((package, server_type), band, pair_hash) if complete else 0
        for complete, package, server_type, band, pair_hash, _ in groups
    ]
    texts = list(chain.from_iterable(result["points"]))
    entries = Entries(
        np.fromiter(chain.from_iterable(result["identities"]), np.uint64, len(texts)),
        np.fromiter(chain.from_iterable(result["arrivals_ms"]), np.int64, len(texts)),
        # Rows that lack something come without their points, so the pair of their group is nobody's.
        np.repeat(np.array(pairs, np.int32), [len(points) for points in result["points"]]),
        np.zeros(len(texts), np.uint32),
    )
    out_of_range: Counter[tuple[str, int]] = Counter()
    for (complete, package, server_type, *_), count in zip(groups, result["out_of_range"], strict=True):
        if complete and count:
            out_of_range[package.decode(), server_type] += count
    return _Rows(entries, texts, sum(new_rows for complete, *_, new_rows in groups if not complete), out_of_range)
