"""The status of a loop, kept as a hash in Valkey beside the statistics, for people and for the watching loop."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from maxy.instants import utc_iso
from maxy.text import decoded
from maxy.valkey.own_keys import own_answer
from maxy.valkey.scripts import read_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.valkey.lease import Lease

#: Outlives a night without a loop, so that what is missing can be seen to be missing.
_EXPIRE_MS = 7 * 86_400_000
# More is no time that a tick, or a period, can take.
_LARGEST_SECONDS = 1e9
_COUNTS = ("rows", "keys", "left_out", "ticks", "skipped", "failures", "consecutive_failures")


@dataclass
class LoopStatus:
    """What a loop says of its last ticks.

    :param period_seconds: between two ticks.
    :param holder: fence number and token of the copy that ticks.
    :param host: where it runs.
    :param last_tick_at: start of the newest tick, good or not.
    :param last_success_at: start of the newest good tick.
    :param lag_seconds: from the instant at which the newest good tick was due to its end.
    :param duration_seconds: of the newest tick.
    :param rows: of the newest good tick: rows of the source it handled.
    :param keys: of the newest good tick: keys it wrote.
    :param left_out: of the newest good tick: rows left out for a missing dimension.
    :param out_of_range: values left out because they lie outside their metric's range, JSON by metric.
        Of device and page those of today, of the scatters those since the start of this copy.
    :param replaced_keys: keys of another type, or that cannot be read, that this copy has replaced.
    :param blocked_seconds: for which a tick blocked the thread of all loops, the worst of the last minute's ticks.
    :param held_up_by: the loop that blocked the thread while the newest good tick was late; empty if none did.
    :param held_up_seconds: for which other loops blocked the thread from when the newest good tick was due to its end.
    :param ticks: good ticks of this copy.
    :param skipped: ticks of this copy that were left out because the one before took too long.
    :param failures: failed ticks of this copy.
    :param consecutive_failures: failed ticks since the last good one.
    :param last_error: of the newest failure; empty after a good tick.
    """

    period_seconds: float
    holder: str = ""
    host: str = ""
    last_tick_at: datetime | None = None
    last_success_at: datetime | None = None
    lag_seconds: float = 0.0
    duration_seconds: float = 0.0
    rows: int = 0
    keys: int = 0
    left_out: int = 0
    out_of_range: Mapping[str, int] = field(default_factory=dict)
    replaced_keys: int = 0
    blocked_seconds: float = 0.0
    held_up_by: str = ""
    held_up_seconds: float = 0.0
    ticks: int = 0
    skipped: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    last_error: str = ""

    def texts(self) -> dict[str, str]:
        """Return the fields as they are kept; instants that are not known yet are left out."""
        values = {known.name: getattr(self, known.name) for known in fields(self)}
        return {name: _text(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> LoopStatus | None:
        """Read a status hash; None if there is none, or one that cannot be read, such as of another version."""
        try:
            return cls(
                period_seconds=_number(texts["period_seconds"]),
                holder=texts["holder"],
                host=texts["host"],
                last_tick_at=_instant(texts.get("last_tick_at")),
                last_success_at=_instant(texts.get("last_success_at")),
                last_error=texts["last_error"],
                lag_seconds=_number(texts["lag_seconds"]),
                duration_seconds=_number(texts["duration_seconds"]),
                **{name: int(texts[name]) for name in _COUNTS},
                # A copy of an earlier version writes none of these.
                out_of_range=_counts(texts.get("out_of_range", "{}")),
                replaced_keys=int(texts.get("replaced_keys", "0")),
                blocked_seconds=_number(texts.get("blocked_seconds", "0")),
                held_up_by=texts.get("held_up_by", ""),
                held_up_seconds=_number(texts.get("held_up_seconds", "0")),
            )
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
            return None

    @classmethod
    def from_answer(cls, answer: Any, key: str) -> LoopStatus | None:
        """Read Valkey's answer to HGETALL; None also where the key has another type, which the loop's next tick mends.

        :param answer: the fields, or what a pipeline has for a command that failed.
        :param key: for errors.
        :raises redis.RedisError: the error that the answer is, if it is another one.
        """
        fields = own_answer(answer, key)
        try:
            return cls.from_texts({decoded(name): decoded(value) for name, value in (fields or {}).items()})
        except UnicodeDecodeError:
            return None


class StatusWriter:
    """Keeps a loop's status in Valkey.

    :param lease: of the loop.
    :param key: of the status hash.
    """

    def __init__(self, lease: Lease, key: str) -> None:
        self._lease = lease
        self._key = key
        self._script = lease.script(read_script("write_status"))

    async def write(self, status: LoopStatus) -> None:
        """Write it.

        :raises maxy.valkey.lease.LeaseLost: another copy holds the lease; nothing was written.
        :raises redis.RedisError: on a server or network error.
        """
        pairs = [text for pair in status.texts().items() for text in pair]
        await self._lease.run(self._script, [self._key], [_EXPIRE_MS, *pairs])


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return utc_iso(value)
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _number(text: str) -> float:
    number = float(text)
    if not abs(number) <= _LARGEST_SECONDS:
        raise ValueError(f"{text} is no number of seconds")
    return number


def _counts(text: str) -> dict[str, int]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"{text} is not an object")
    return {str(name): int(count) for name, count in content.items()}


def _instant(text: str | None) -> datetime | None:
    if not text:
        return None
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} carries no time zone")
    return instant
