"""The status of a family's live loops, read for the pages. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maxy._addresses import hide_addresses
from maxy.instants import utc_iso
from maxy.loops.health import LoopHealth, LoopState
from maxy.loops.loop import loop_key
from maxy.loops.status import LoopStatus
from maxy.web.models import LoopReport, RowsAre

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from redis.asyncio import Redis

    from maxy.loops.health import HealthLimits
    from maxy.loops.options import LoopSettings
    from maxy.loops.registry import EnabledLoop

# The fence number and the first letters of the token.
_SHOWN_OF_HOLDER = 25


@dataclass(frozen=True, kw_only=True)
class ShownLoops:
    """What the pages have to know of a family's loops; the family's settings for the pages have it.

    :param prefix: of every key of the family in Valkey.
    :param loops: that are to run.
    :param limits: from when on a loop is in trouble.
    :param refused: by the loop's name: why it cannot run. The others are none the worse for it.
    :param rows_are: by the loop's name: what the rows of a tick are, where that is known.
    """

    prefix: str
    loops: tuple[EnabledLoop, ...]
    limits: HealthLimits
    refused: Mapping[str, str] = field(default_factory=dict)
    rows_are: Mapping[str, RowsAre] = field(default_factory=dict)

    def loop(self, name: str) -> LoopSettings | None:
        """Return a loop's settings; None if it is not to run."""
        return next((loop.settings for loop in self.loops if loop.name == name), None)


async def read_statuses(valkey: Redis, live: ShownLoops) -> dict[str, LoopStatus | None]:
    """Return the status of each enabled loop.

    :raises redis.RedisError: on a server or network error.
    """
    keys = {loop.name: loop_key(live.prefix, loop.name) for loop in live.loops}
    if not keys:
        return {}
    pipeline = valkey.pipeline(transaction=False)
    for key in keys.values():
        pipeline.hgetall(key)
    answers = await pipeline.execute(raise_on_error=False)
    return {
        name: LoopStatus.from_answer(answer, key) for (name, key), answer in zip(keys.items(), answers, strict=True)
    }


def reports(statuses: Mapping[str, LoopStatus | None] | None, live: ShownLoops, now: datetime) -> list[LoopReport]:
    """Report the status of each enabled loop.

    :param statuses: as they stand in Valkey; None if they cannot be read.
    """
    return [_report(loop, statuses, live, now) for loop in live.loops]


def _report(
    loop: EnabledLoop, statuses: Mapping[str, LoopStatus | None] | None, live: ShownLoops, now: datetime
) -> LoopReport:
    status = (statuses or {}).get(loop.name)
    rows_are = live.rows_are.get(loop.name)
    health = live.limits.judge(status, now)
    reason = live.refused.get(loop.name)
    if reason is not None:
        health = LoopHealth(LoopState.FAILING, f"is refused: {reason}")
    said: dict[str, Any] = {} if status is None else dict(vars(status))
    for instant in ("last_tick_at", "last_success_at"):
        said[instant] = utc_iso(said[instant]) if said.get(instant) else None
    # Whoever may see the page need not know where the servers are.
    if status is not None:
        said["last_error"] = hide_addresses(status.last_error)
    problem = None if health.problem is None else hide_addresses(health.problem)
    own = {
        "name": loop.name,
        "dag_id": f"realtime_{loop.name}",
        "period_seconds": loop.settings.period_seconds,
        "state": health.state,
        "problem": "its status cannot be read" if statuses is None and reason is None else problem,
        # Enough to tell two copies apart; with the whole token one could write in the holder's name.
        "holder": said["holder"][:_SHOWN_OF_HOLDER] if status is not None else None,
        "rows_are": rows_are,
        "rows_per_second": _rows_per_second(rows_are, status),
    }
    return LoopReport(**{**said, **own})


def _rows_per_second(rows_are: RowsAre | None, status: LoopStatus | None) -> float | None:
    if status is None or rows_are is not RowsAre.NEW or status.period_seconds <= 0:
        return None
    return status.rows / status.period_seconds
