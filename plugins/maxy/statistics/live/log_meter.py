"""Live log rate: how many rows of maxy_app_total_log have arrived since the last tick, per package and server type."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from maxy.clickhouse.sql_files import read_statement
from maxy.clock import from_ms, to_ms
from maxy.instants import utc_iso
from maxy.loops.hash_loop import log_hashes
from maxy.loops.loop import Loop, TickResult
from maxy.loops.options import Option, Rule, number_from, whole_numbers
from maxy.loops.pruning import LARGEST_SKEW, part_pruner
from maxy.loops.tick_writer import HashGroup, TickWriter
from maxy.statistics.row_rules import ROW_OPTIONS
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.own_keys import read_own, stored_number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import LoopEnvironment, Tick

# Width of a slot. Counting by slots and not by keys alone makes the count right when a merge removes the older one of
# two repeats between two ticks: its slot then holds fewer rows than before, which no row of another slot makes up for.
_SLOT_MS = 100
# The slot of the row that tells the server's clock.
_SERVER_CLOCK = -1
_LARGEST_SKEW_MS = LARGEST_SKEW // timedelta(milliseconds=1)
_STATE_VERSION = 1
# A key without rows keeps the time of its newest one.
_ZERO_FIELDS = ("package_nm", "server_type", "log_count", "updated_at", "window_start", "window_end")
_FIELDS = (*_ZERO_FIELDS, "last_reg_dt")

_Key = tuple[str, int]


@dataclass
class _State:
    """What has been counted.

    :param since_ms: rows inserted before this instant are counted for good.
    :param until_ms: the newest tick.
    :param counted: for each key the rows counted so far, by slot, from ``since_ms`` on.
    :param shown: keys whose hash says something other than 0 rows.
    :param newest_ms: the newest time of insertion that was seen; 0 before the first row.
    :param is_first: nothing was counted yet; ``since_ms`` is by this machine's clock.
    """

    since_ms: int
    until_ms: int
    counted: dict[_Key, dict[int, int]] = field(default_factory=dict)
    shown: set[_Key] = field(default_factory=set)
    newest_ms: int = 0
    is_first: bool = False

    def to_bytes(self) -> bytes:
        """Return it packed: some hundred kilobytes of numbers a tick would otherwise be written to the disk."""
        content = {
            "version": _STATE_VERSION,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "newest_ms": self.newest_ms,
            "counted": [
                [*key, *(number for slot in slots.items() for number in slot)] for key, slots in self.counted.items()
            ],
            "shown": list(self.shown),
        }
        return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 1)

    @classmethod
    def from_bytes(cls, packed: bytes) -> _State:
        """Read it.

        :raises ValueError: if it is not such a state.
        """
        try:
            content = json.loads(zlib.decompress(packed))
            if content["version"] != _STATE_VERSION:
                raise ValueError(f"version {content['version']}")
            counted = {
                _key(package, server): _slots([stored_number(number) for number in numbers])
                for package, server, *numbers in content["counted"]
            }
            shown = {_key(package, server) for package, server in content["shown"]}
            since, until, newest = (stored_number(content[name]) for name in ("since_ms", "until_ms", "newest_ms"))
            return cls(since, until, counted, shown, newest)
        except (ValueError, LookupError, TypeError, RecursionError, zlib.error) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _slots(numbers: Sequence[int]) -> dict[int, int]:
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def _key(package: Any, server: Any) -> _Key:
    """Return a key of a state, if it is one."""
    if not isinstance(package, str) or not isinstance(server, int):
        raise TypeError(f"{package!r}, {server!r} is no key")
    # Valkey is sent UTF-8; JSON could hold what has none.
    package.encode()
    return package, server


@dataclass
class _Arrival:
    """What is new of a key.

    :param rows: how many.
    :param newest_ms: the time of insertion of its newest row.
    """

    rows: int = 0
    newest_ms: int = 0


class LogMeter(Loop):
    """Counts every row once, repeats included, whenever it becomes visible.

    A row becomes visible some time after its ``reg_dt``, and rows share a millisecond, so a cursor would lose some.
    Each tick counts all rows from ``lateness_seconds`` before the former tick on, in slots of a tenth of a second, and
    takes off what was counted before. The counts are in Valkey and move with the hashes, so another copy goes on
    exactly there.

    Exact as long as rows become visible within ``lateness_seconds`` of their ``reg_dt``. Not counted is a repeat that
    is merged away before a tick has seen it, and a row that comes late into the very slot out of which, between the
    same two ticks, a merge took a repeat of the same key.

    A loop that finds no state in Valkey begins with the rows of its last period. Keys without rows in a window are set
    to 0 once and expire.

    When the server's clock is set back by more than ``lateness_seconds``, the rows that arrive from then until the next
    tick bear times that were counted for good, and are not counted; those after that tick are. Nothing is counted
    twice, and a clock that is set forward costs nothing.

    A row whose ``reg_dt`` lies more than half a minute in the future is counted like any other, but from then on until
    that time whole tables are read.

    :param environment: clients and settings.
    """

    name = "log_meter"
    period_seconds = 5.0
    #: The keys behind the prefix.
    key_template: ClassVar[str] = "totallog:{package_nm}:{server_type}"
    options: ClassVar[Mapping[str, Option]] = {
        "max_name_length": ROW_OPTIONS["max_name_length"],
        "lateness_seconds": Option(
            10.0, number_from(0, 3600), "seconds after its reg_dt in which a row may become visible"
        ),
        "leave_out_log_types": Option([], whole_numbers, "log types that are not counted"),
        "expire_minutes": Option(
            60.0, number_from(1, 525_600), "minutes until a hash that is not written again expires"
        ),
        "state_hours": Option(72.0, number_from(0.1, 8760), "hours of outage after which counting begins anew"),
    }
    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "expire_minutes",
            "tick_limit_seconds",
            lambda settings: settings["expire_minutes"] * 60 > settings.longest_pause_seconds,
            "hashes must last until the next tick, however long it takes",
        ),
        Rule(
            "expire_minutes",
            "period_seconds",
            lambda settings: settings["expire_minutes"] * 60 > 2 * settings.period_seconds,
            "hashes must last for two ticks",
        ),
        Rule(
            "state_hours",
            "expire_minutes",
            lambda settings: settings["state_hours"] * 60 >= settings["expire_minutes"],
            "the state must outlive the hashes",
        ),
        Rule(
            "state_hours",
            "lateness_seconds",
            lambda settings: settings["state_hours"] * 3600 > settings["lateness_seconds"],
            "the state must outlive what may come late",
        ),
    )

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        settings = environment.settings
        self._lateness_ms = int(settings["lateness_seconds"] * 1000)
        self._pruner = part_pruner(environment, "maxy_app_total_log")
        self._statement = read_statement(
            "statistics/live/log_meter.sql",
            leave_out_log_types=settings["leave_out_log_types"],
            prune_parts=settings["prune_parts"],
            max_name_length=settings["max_name_length"],
        )
        self._template = KeyTemplate(self.key_template, prefix=f"{environment.prefix}:")
        self._writer = TickWriter(environment.lease, self.own_key("keys"))
        self._state_key = self.own_key("state")
        self._cursor_key = f"{environment.prefix}:totallog:cursor"
        self._state: _State | None = None
        self._server_behind_ms = 0

    def reset(self) -> None:
        """Forget the state: the next tick reads it from Valkey."""
        self._state = None
        self._pruner.forget()

    async def tick(self, tick: Tick) -> TickResult:
        """Count what has arrived and write it."""
        now_ms = to_ms(tick.now)
        before = self._state or await self._load() or self._first(now_ms)
        read_from = self._read_from(before, now_ms)
        result = await self._read(tick.now, read_from)
        self._see_server_clock(result, now_ms)
        if (further := self._read_from(before, now_ms)) < read_from:
            # The server's clock was set back, so what arrives from now on lies before what was read.
            read_from = further
            result = await self._read(tick.now, read_from)
        after, arrived = self._next_state(before, result, now_ms, read_from)
        if after.newest_ms > now_ms + _LARGEST_SKEW_MS:
            # Parts that are old by this machine's clock may hold rows that are not counted for good.
            self._pruner.forget()
        left_out = arrived.pop(_LEFT_OUT, _Arrival()).rows
        keys = await self._write(before, after, arrived, tick.now)
        self._state = after
        rows = sum(arrival.rows for arrival in arrived.values())
        return TickResult(rows=rows + left_out, keys=keys, left_out=left_out)

    async def _load(self) -> _State | None:
        packed = await read_own(self.environment.valkey.get(self._state_key), self._state_key)
        if packed is None:
            return None
        if isinstance(packed, str):
            raise TypeError("the log meter's state is binary: a client without decode_responses is needed")
        try:
            return _State.from_bytes(packed)
        except ValueError as error:
            # Of another version, or damaged: it will not get better by trying again. Counting begins anew.
            self.environment.lease.replaced.add_unreadable(self._state_key, error)
            return None

    def _first(self, now_ms: int) -> _State:
        """Begin with the last period: what is older counts as counted."""
        period_ms = int(self.environment.settings.period_seconds * 1000)
        return _State(since_ms=_floor(now_ms - period_ms), until_ms=now_ms - period_ms, is_first=True)

    async def _read(self, now: datetime, read_from: int) -> Columns:
        parameters: dict[str, Any] = {"slot_ms": _SLOT_MS, "since_ms": read_from}
        settings = self.environment.settings
        if settings["leave_out_log_types"]:
            parameters["log_types"] = settings["leave_out_log_types"]
        if settings["prune_parts"]:
            await self._pruner.look(now)
            parameters |= self._pruner.parameters(from_ms(read_from))
        return await self.environment.clickhouse.select(self._statement, parameters)

    def _read_from(self, before: _State, now_ms: int) -> int:
        """Return from when to read: what this tick counts, and what the next one will compare with."""
        since_ms = before.since_ms - (_LARGEST_SKEW_MS if before.is_first else 0)
        return min(since_ms, self._next_since(now_ms))

    def _next_since(self, now_ms: int) -> int:
        # Rows bear the server's clock; one that is ahead does no harm.
        return _floor(now_ms - self._server_behind_ms - self._lateness_ms)

    def _see_server_clock(self, result: Columns, now_ms: int) -> None:
        for slot, newest in zip(result["slot"], result["newest_ms"], strict=True):
            if slot == _SERVER_CLOCK:
                self._server_behind_ms = max(0, now_ms - newest)

    def _next_state(
        self, before: _State, result: Columns, now_ms: int, read_from: int
    ) -> tuple[_State, dict[_Key, _Arrival]]:
        """Return the next state, and what is new by key."""
        newest_ms = max(
            before.newest_ms,
            *(
                newest
                for slot, newest in zip(result["slot"], result["newest_ms"], strict=True)
                if slot != _SERVER_CLOCK
            ),
            0,
        )
        # What was not read cannot be compared with, whatever the server's clock is found to be.
        since_ms = max(self._next_since(now_ms), read_from)
        first_ms = max(before.since_ms - self._server_behind_ms, read_from) if before.is_first else before.since_ms
        first_slot, since_slot = first_ms // _SLOT_MS, since_ms // _SLOT_MS
        counted: dict[_Key, dict[int, int]] = defaultdict(dict)
        new: dict[_Key, int] = defaultdict(int)
        newest_of: dict[_Key, int] = defaultdict(int)
        columns = (result[name] for name in ("is_complete", "package", "server", "slot", "rows", "newest_ms"))
        for complete, package, server, slot, rows, newest in zip(*columns, strict=True):
            if slot == _SERVER_CLOCK:
                continue
            key = (package, server) if complete else _LEFT_OUT
            newest_of[key] = max(newest_of[key], newest)
            if slot >= first_slot:
                new[key] += max(0, rows - before.counted.get(key, {}).get(slot, 0))
            if slot >= since_slot:
                counted[key][slot] = rows
        arrived = {key: _Arrival(rows, newest_of[key]) for key, rows in new.items() if rows}
        return _State(since_ms, now_ms, dict(counted), set(arrived) - {_LEFT_OUT}, newest_ms), arrived

    async def _write(self, before: _State, after: _State, arrived: Mapping[_Key, _Arrival], now: datetime) -> int:
        # One window ends where the next one begins, to the digit.
        window = (utc_iso(now), utc_iso(from_ms(before.until_ms)), utc_iso(from_ms(after.until_ms)))
        groups = [
            HashGroup(
                _FIELDS,
                [
                    (name, (package, str(server), str(arrival.rows), *window, utc_iso(from_ms(arrival.newest_ms))))
                    for name, ((package, server), arrival) in zip(self._keys(arrived), arrived.items(), strict=True)
                ],
                indexed=False,
            )
        ]
        idle = before.shown - arrived.keys()
        groups.append(
            HashGroup(
                _ZERO_FIELDS,
                [
                    (name, (package, str(server), "0", *window))
                    for name, (package, server) in zip(self._keys(idle), idle, strict=True)
                ],
                indexed=False,
            )
        )
        settings = self.environment.settings
        # The state's own time: it must outlive the hashes, so that a long outage is caught up with.
        await self._writer.write(
            groups,
            expire_ms=int(settings["expire_minutes"] * 60_000),
            strings=self._strings(after),
            strings_expire_ms=int(settings["state_hours"] * 3_600_000),
        )
        log_hashes(self.environment, groups)
        return sum(len(group.hashes) for group in groups)

    def _keys(self, keys: Collection[_Key]) -> Iterator[str]:
        return self._template.keys([[package for package, _ in keys], [str(server) for _, server in keys]])

    def _strings(self, after: _State) -> dict[str, str | bytes]:
        strings: dict[str, str | bytes] = {self._state_key: after.to_bytes()}
        if after.newest_ms:
            cursor = from_ms(after.newest_ms).astimezone(UTC).isoformat(timespec="milliseconds")
            strings[self._cursor_key] = cursor.replace("+00:00", "Z")
        return strings


#: Rows without package or server type; no real package has an empty name.
_LEFT_OUT: _Key = ("", -1)


def _floor(milliseconds: int) -> int:
    return milliseconds // _SLOT_MS * _SLOT_MS
