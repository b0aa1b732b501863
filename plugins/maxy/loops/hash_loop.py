"""Loops that keep the rows of a query as hashes: all but one SQL file and a few lines of a loop of one's own."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import compress
from typing import TYPE_CHECKING, Any, ClassVar

from maxy.clickhouse.values import require_written, texts
from maxy.clock import to_ms
from maxy.instants import utc_iso
from maxy.loops import contract
from maxy.loops.loop import Loop, TickResult, is_loop_key
from maxy.loops.options import Option, Rule, number_from
from maxy.loops.out_of_range_log import OutOfRangeLog
from maxy.loops.tick_writer import HashGroup, TickWriter
from maxy.text import decoded
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.own_keys import read_own

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import LoopEnvironment, Tick

_log = logging.getLogger(__name__)

#: Columns of a result that say something of a row and are not written.
IS_COMPLETE, ROWS = "is_complete", "rows"
UPDATED_AT = "updated_at"

_FORGET_MEMBERS = "own('ZREM', KEYS[2], unpack(ARGV, 3))"
# At once: Lua's unpack cannot do more than some thousands.
_MOST_FORGOTTEN = 1000


class HashLoop(Loop):
    """Keeps each row of a result as a hash: the dimensions, the metrics and ``updated_at``.

    Only hashes whose values have changed are written, all of a tick in one step; every ``rewrite_minutes``, and after a
    takeover, all of them, so that what somebody removed comes back. A key that is in the result no more (such as
    yesterday's, on a new day) is not left standing: its metrics are set to 0, and it expires after ``expire_hours``.

    The result of :meth:`figures` has the columns of ``key_template`` and ``metrics``. Two more may be there:
    ``is_complete`` (rows where it is 0 lack a dimension: they are left out and counted) and ``rows`` (of the source).
    A value that is NULL, NaN or infinite removes its field. Values are written by the types of their columns, as the
    hash writer writes them (docs/how-to-operators.md).

    For the metrics in ``ranged_metrics`` it also has a column ``<metric>_out``: how many values of the metric were left
    out of the row because they are out of range.

    :param environment: clients and settings.
    """

    #: The keys behind the prefix, with dimension columns in braces.
    key_template: ClassVar[str]
    #: The columns that are 0 where nothing came.
    metrics: ClassVar[Sequence[str]]
    #: Metrics of the source of which values out of range are left out.
    ranged_metrics: ClassVar[Sequence[str]] = ()
    #: Values of the first dimension that would make a key of another loop.
    reserved: ClassVar[Collection[str]] = ()
    options: ClassVar[Mapping[str, Option]] = {
        "expire_hours": Option(26.0, number_from(0.05, 8760), "hours until a hash that is not written again expires"),
        "rewrite_minutes": Option(
            10.0, number_from(0.5, 10_080), "minutes after which unchanged hashes are written again too"
        ),
    }
    # Unchanged hashes would else vanish between two rewrites; one that fails is made up for.
    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "expire_hours",
            "rewrite_minutes",
            lambda settings: settings["expire_hours"] * 60 >= 2 * settings["rewrite_minutes"],
            "hashes must last for two rewrites",
        ),
        Rule(
            "expire_hours",
            "tick_limit_seconds",
            lambda settings: (
                settings["expire_hours"] * 3600 > settings["rewrite_minutes"] * 60 + settings.longest_pause_seconds
            ),
            "hashes must last for the rewrite after the next, however long a tick takes",
        ),
        Rule(
            "expire_hours",
            "period_seconds",
            lambda settings: settings["expire_hours"] * 3600 > 2 * settings.period_seconds,
            "hashes must last for two ticks",
        ),
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for attribute in ("metrics", "ranged_metrics", "reserved"):
            # ("orders") without a comma is a text, whose letters would be taken for columns.
            if isinstance(getattr(cls, attribute, ()), str):
                place = f"{cls.__module__}.{cls.__qualname__}"
                raise ValueError(f"{place}: {attribute} must be a sequence of names, not str")

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self._template = KeyTemplate(self.key_template, prefix=f"{environment.prefix}:", reserved=self.reserved)
        self._fields = [*self._template.columns, *self.metrics, UPDATED_AT]
        self._index_key = self.own_key("keys")
        self._writer = TickWriter(environment.lease, self._index_key)
        self._forget = environment.lease.script(_FORGET_MEMBERS)
        self._expire_ms = int(environment.settings["expire_hours"] * 3_600_000)
        self._rewrite_after = timedelta(minutes=environment.settings["rewrite_minutes"])
        # A mark of what each key was last given; None: not known to this copy.
        self._written: Mapping[str, int | None] = {}
        self._rewritten_at: datetime | None = None
        self._out_of_range_log = OutOfRangeLog(self.name)

    @abstractmethod
    async def figures(self, tick: Tick) -> Columns:
        """Return the present figures, a row per key."""

    async def tick(self, tick: Tick) -> TickResult:
        """Compute the figures and write what has changed."""
        figures = await contract.columns(self, self.figures(tick))
        keys, values, marks, result = self._rows(figures)
        self._check_distinct(keys, values)
        if self._rewritten_at is None:
            self._written = dict.fromkeys(await self._known_keys())
        rewrite = self._rewritten_at is None or not (
            timedelta(0) <= tick.now - self._rewritten_at < self._rewrite_after
        )
        changed = [
            (key, row)
            for key, row, mark in zip(keys, values, marks, strict=True)
            if rewrite or self._written.get(key) != mark
        ]
        written = dict(zip(keys, marks, strict=True))
        gone = [key for key in self._written if key not in written]
        count = await self._write(tick, changed, gone, rewrite=rewrite)
        self._written = written
        if rewrite:
            self._rewritten_at = tick.now
        return replace(result, keys=count, out_of_range=self._out_of_range(figures, tick))

    async def _known_keys(self) -> list[str]:
        """Return the keys in the index. A member that this loop cannot have put there is no key of its own."""
        members = await read_own(self.environment.valkey.zrange(self._index_key, 0, -1), self._index_key)
        known = {member: self._own_key_of(member) for member in members or ()}
        strange = [member for member, key in known.items() if key is None]
        if strange:
            self.environment.lease.replaced.add_unreadable(
                self._index_key, f"{len(strange)} members are no keys of this loop, such as {strange[0]!r}"
            )
            await self.environment.lease.run(self._forget, [self._index_key], strange[:_MOST_FORGOTTEN])
        return [key for key in known.values() if key is not None]

    def _own_key_of(self, member: Any) -> str | None:
        try:
            key = decoded(member)
        except UnicodeDecodeError:
            return None
        values = self._template.values(key)
        is_own = values is not None and next(self._template.keys([[value] for value in values])) == key
        return key if is_own and not is_loop_key(self.environment.prefix, key) else None

    def reset(self) -> None:
        """Forget what was written: the next tick reads the index and writes every hash."""
        self._written = {}
        self._rewritten_at = None

    async def _write(
        self, tick: Tick, changed: Sequence[tuple[str, Sequence[str | None]]], gone: Sequence[str], *, rewrite: bool
    ) -> int:
        if not changed and not gone and not rewrite:
            return 0
        updated_at = utc_iso(tick.now)
        zeros = [*("0" for _ in self.metrics), updated_at]
        groups = [
            HashGroup(self._fields, [(key, (*row, updated_at)) for key, row in changed]),
            # Out of the index, they are forgotten when they have expired. Their dimensions mostly stand there already.
            HashGroup(
                self._fields, [(key, (*(self._template.values(key) or ()), *zeros)) for key in gone], indexed=False
            ),
        ]
        written = await self._writer.write(groups, expire_ms=self._expire_ms, index_ms=to_ms(tick.now))
        log_hashes(self.environment, groups)
        return written

    def _rows(self, result: Columns) -> tuple[list[str], list[tuple[str | None, ...]], list[int], TickResult]:
        """Return the keys, the values of each, a mark that tells whether they have changed, and the rows' numbers."""
        complete = _complete(result)
        counts = result[ROWS] if ROWS in result.names else [1] * len(result)
        left_out = sum(count for count, kept in zip(counts, complete, strict=True) if not kept)
        names = [*self._template.columns, *self.metrics]
        missing = [name for name in names if result.names and name not in result.names]
        if missing:
            raise ValueError(f"{self.name}: the result has no column {', '.join(missing)}")
        columns = [list(compress(result[name], complete)) for name in names]
        types = list(map(result.type_of, names))
        require_written(zip(names, types, strict=True))
        written = [texts(*column) for column in zip(columns, names, types, strict=True)]
        dimensions = [[text or "" for text in column] for column in written[: len(self._template.columns)]]
        return (
            list(self._template.keys(dimensions)),
            list(zip(*written, strict=True)),
            list(map(hash, zip(*map(_comparable, columns, written), strict=True))),
            TickResult(rows=sum(counts), left_out=left_out),
        )

    def _out_of_range(self, result: Columns, tick: Tick) -> dict[str, int]:
        """Return how many values of the keys were left out, by metric, and warn of them."""
        complete = _complete(result)
        columns = {metric: list(compress(result[f"{metric}_out"], complete)) for metric in self.ranged_metrics}
        counts = {metric: total for metric, column in columns.items() if (total := sum(column))}
        if counts:
            keys = zip(*(compress(result[name], complete) for name in self._template.columns), strict=True)
            by_key = zip(keys, map(sum, zip(*columns.values(), strict=True)), strict=True)
            self._out_of_range_log.report(counts, by_key, tick.now)
        return counts

    def _check_distinct(self, keys: Sequence[str], values: Sequence[Sequence[str | None]]) -> None:
        if len(set(keys)) == len(keys):
            return
        key, _ = Counter(keys).most_common(1)[0]
        rows = [row[: len(self._template.columns)] for other, row in zip(keys, values, strict=True) if other == key]
        raise ValueError(f"{self.name}: {len(rows)} rows of the result have the key {key!r}: {rows[0]}, {rows[1]}")


def _complete(result: Columns) -> Sequence[int]:
    """Return for each row whether it has all dimensions."""
    return result[IS_COMPLETE] if IS_COMPLETE in result.names else [1] * len(result)


def log_hashes(environment: LoopEnvironment, groups: Sequence[HashGroup]) -> None:
    """Log written keys and values, as far as the settings allow."""
    total = sum(len(group.hashes) for group in groups)
    left = room = environment.log.room_for_values(environment.settings, total)
    for group in groups:
        for key, values in group.hashes[:left]:
            _log.info("%s %s", key, dict(zip(group.fields, values, strict=True)))
        left -= len(group.hashes[:left])
    if 0 < room < total:
        _log.info("… and %d more keys", total - room)


def _comparable(column: Sequence[Any], written: Sequence[str | None]) -> Sequence[str | None]:
    """Return a column's texts so that two differ where a reader would see a difference.

    A sum of floats is not the same to the last digit when the server adds them up in another order; that alone is no
    reason to write hundreds of hashes.
    """
    if float not in set(map(type, column)):
        return written
    return [f"{value:.10g}" if isinstance(value, float) else text for value, text in zip(column, written, strict=True)]
