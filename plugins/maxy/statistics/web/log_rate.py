"""The log rate of the last minutes: the log meter's ticks, and before the first one that was seen, ClickHouse."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from maxy.clock import from_ms, to_ms
from maxy.instants import utc_iso
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.web.models import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maxy.loops.status import LoopStatus
    from maxy.statistics.web.live_store import Pair
    from maxy.statistics.web.sources import StatisticsSources

#: How far back the page shows the rate.
SHOWN = timedelta(minutes=10)
# Rows that are older when they come in are few; they are missed in what ClickHouse is asked for, and only there.
_LATE = timedelta(minutes=10)
_MOST_SLOTS = 1000
# Ticks that are further apart than this, beyond their period, do not follow one another.
_GAP = timedelta(seconds=1)


class LogRateWindow:
    """The slots of one package and server type. Each tick of the log meter adds one, from one tick to the next.

    The log meter counts rows when they become visible. On a busy server a whole tick's rows come with the next one, and
    two slots would show no rows and then twice as many, like an outage that never was. So a first tick without rows is
    kept back, and is one slot with the next tick, whatever that says: what came in over the time of both.
    """

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        # Start and end of the tick that is kept back.
        self._kept_back: tuple[datetime, datetime] | None = None

    def precede(self, slots: Sequence[Slot]) -> None:
        """Put slots before those of the ticks; what overlaps the first tick is left out."""
        first = self._slots[0].start if self._slots else None
        self._slots.extendleft(
            slot for slot in reversed(slots) if first is None or _instant(slot.end) <= _instant(first)
        )

    def tick(self, answer: Mapping[str, str], status: LoopStatus) -> Slot | None:
        """Take over a tick.

        A key without rows is not written at each tick: then the window of its hash is older than the tick.

        :param answer: the key's hash; empty where there is none.
        :param status: of the log meter, with the tick.
        :return: the new slot; None if there is none, or none yet.
        """
        if status.last_success_at is None:
            return None
        end = status.last_success_at
        start = end - timedelta(seconds=status.period_seconds)
        rows = 0
        try:
            window = _instant(answer["window_start"]), _instant(answer["window_end"])
            if window[1] >= end - timedelta(milliseconds=1):
                (start, end), rows = window, int(answer["log_count"])
        except (KeyError, ValueError):
            # No rows so far, or not written by the loop.
            pass
        newest = self._newest()
        if newest is not None:
            if end <= newest:
                return None
            start = max(start, newest)
        if rows == 0 and self._kept_back is None and self._slots and self._slots[-1].rows:
            self._kept_back = start, end
            return None
        # One that the next tick does not follow is left out: what came in since then is not known.
        if self._kept_back is not None and start - self._kept_back[1] <= _GAP:
            start = self._kept_back[0]
        self._kept_back = None
        slot = Slot(start=utc_iso(start), end=utc_iso(end), rows=rows)
        self._slots.append(slot)
        while self._slots and _instant(self._slots[0].end) < end - SHOWN:
            self._slots.popleft()
        return slot

    def _newest(self) -> datetime | None:
        """Return the end of the newest tick."""
        if self._kept_back is not None:
            return self._kept_back[1]
        return _instant(self._slots[-1].end) if self._slots else None

    def slots(self) -> list[Slot]:
        """Return all slots, oldest first."""
        return list(self._slots)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def slots_from_clickhouse(sources: StatisticsSources, pair: Pair, until: datetime) -> list[Slot]:
    """Return slots of the log meter's period, oldest first; the last one ends at an instant, to the millisecond.

    :raises maxy.web.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    settings = (await sources.settings()).loop(LogMeter.name)
    period = timedelta(seconds=settings.period_seconds if settings else LogMeter.period_seconds)
    left_out = settings["leave_out_log_types"] if settings else []
    slot_ms = max(1, to_ms(from_ms(0) + period))
    slots = min(_MOST_SLOTS, max(1, int(SHOWN / period)))
    # Counted back from the instant, so that the tick that begins there follows without a gap.
    until_ms = to_ms(until)
    since_ms = until_ms - slots * slot_ms
    result = await sources.select(
        "statistics/web/log_rate.sql",
        {
            "slot_ms": slot_ms,
            "since_ms": since_ms,
            "until_ms": until_ms,
            "log_tm_since_ms": since_ms - int(_LATE.total_seconds() * 1000),
            "package_nm": pair[0],
            "server_type": pair[1],
            "most": slots,
            **({"log_types": left_out} if left_out else {}),
        },
        # Only a name with this character may stand otherwise in the source (shared/names.sql).
        structure={"leave_out_log_types": bool(left_out), "is_rewritten": "\ufffd" in pair[0]},
    )
    rows = dict(zip(result["slot"], result["rows"], strict=True))
    return [
        Slot(start=utc_iso(from_ms(start)), end=utc_iso(from_ms(start + slot_ms)), rows=rows.get(number, 0))
        for number, start in enumerate(range(since_ms, until_ms, slot_ms))
    ]
