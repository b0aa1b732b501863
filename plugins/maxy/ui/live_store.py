"""What the live loops keep in Valkey, read for the pages. Nothing here writes."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from maxy.realtime.device import Device
from maxy.realtime.loading_time import LoadingTime
from maxy.realtime.log_meter import LogMeter
from maxy.realtime.loop import loop_key
from maxy.realtime.page import Page
from maxy.realtime.response_time import ResponseTime
from maxy.realtime.status import LoopStatus
from maxy.ui.figures import measured
from maxy.ui.models import DEVICE_METRICS, PAGE_METRICS, Key, LoopFigures, LoopReport, RowsAre, ScatterName
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.text import decoded, utc_iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from redis.asyncio import Redis

    from maxy.realtime.registry import EnabledLoop
    from maxy.realtime.scatter import ScatterLoop
    from maxy.ui.sources import PageSettings

SCATTERS: Mapping[ScatterName, type[ScatterLoop]] = {
    ScatterName.LOADING_TIME: LoadingTime,
    ScatterName.RESPONSE_TIME: ResponseTime,
}

#: What the rows of a tick are; other loops may count anything.
_ROWS_ARE: Mapping[str, RowsAre] = {
    **{loop.name: RowsAre.NEW for loop in (LogMeter, LoadingTime, ResponseTime)},
    **{loop.name: RowsAre.READ for loop in (Device, Page)},
}

_SERVER_TYPE = re.compile("[0-9]{1,10}")
# The fence number and the first letters of the token.
_SHOWN_OF_HOLDER = 25

#: Package and server type.
Pair = tuple[str, int]
#: Package, server type and system.
Triple = tuple[str, int, str]


class LiveStore:
    """Reads one installation's keys.

    :param valkey: a client whose answers are bytes.
    :param settings: the package's.
    """

    def __init__(self, valkey: Redis, settings: PageSettings) -> None:
        self._valkey = valkey
        self._settings = settings
        prefix = f"{settings.prefix}:"
        self._device = KeyTemplate(Device.key_template, prefix=prefix, reserved=Device.reserved)
        self._page = KeyTemplate(Page.key_template, prefix=prefix, reserved=Page.reserved)
        self._log_meter = KeyTemplate(LogMeter.key_template, prefix=prefix)
        self._scatters = {name: KeyTemplate(loop.key_template, prefix=prefix) for name, loop in SCATTERS.items()}

    async def keys(self, most: int) -> list[Key]:
        """Return the keys that the device and page loops keep, sorted; at most ``most + 1``."""
        pipeline = self._valkey.pipeline(transaction=False)
        for loop in (Device, Page):
            pipeline.zrange(f"{loop_key(self._settings.prefix, loop.name)}:keys", 0, most)
        device, page = await pipeline.execute()
        found = {*_triples(self._device, device), *_triples(self._page, page)}
        every = [Key(package_nm=package, server_type=server, os_type=system) for package, server, system in found]
        return sorted(every, key=lambda key: (key.package_nm, key.server_type, key.os_type))[: most + 1]

    async def today(self, triples: Sequence[Triple]) -> list[tuple[LoopFigures, LoopFigures]]:
        """Return the device and the page figures of each key, all read in one step."""
        pipeline = self._valkey.pipeline(transaction=False)
        for triple in triples:
            for template in (self._device, self._page):
                pipeline.hgetall(_key(template, triple))
        answers = iter(await pipeline.execute())
        return [(_figures(next(answers), DEVICE_METRICS), _figures(next(answers), PAGE_METRICS)) for _ in triples]

    async def busiest(self, keys: Sequence[Key]) -> Key | None:
        """Return the busiest key of the busiest package: by today's page views, then devices; names decide between
        equals."""
        pipeline = self._valkey.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(_key(self._page, _triple(key)), "pv")
            pipeline.hget(_key(self._device, _triple(key)), "dau")
        answers = await pipeline.execute(raise_on_error=False)
        busy = {_triple(key): (_count(answers[2 * at]), _count(answers[2 * at + 1])) for at, key in enumerate(keys)}
        packages: dict[str, tuple[int, int]] = {}
        for (package, _, _), (views, devices) in busy.items():
            before = packages.get(package, (0, 0))
            packages[package] = (before[0] + views, before[1] + devices)

        def rank(key: Key) -> tuple[Any, ...]:
            package, own = packages[key.package_nm], busy[_triple(key)]
            return -package[0], -package[1], key.package_nm, -own[0], -own[1], key.server_type, key.os_type

        return min(keys, key=rank, default=None)

    async def log_rates(self, pairs: Sequence[Pair]) -> list[dict[str, str]]:
        """Return the log meter's newest hash of each pair; empty where there is none."""
        pipeline = self._valkey.pipeline(transaction=False)
        for pair in pairs:
            pipeline.hgetall(_key(self._log_meter, pair))
        return [_texts(answer) for answer in await pipeline.execute()]

    async def points(self, loop: ScatterName, pair: Pair) -> tuple[list[tuple[bytes, float]], dict[str, str] | None]:
        """Return a scatter's members with the times they came in (epoch ms), and the hash beside it."""
        key = _key(self._scatters[loop], pair)
        pipeline = self._valkey.pipeline(transaction=False)
        pipeline.zrange(key, 0, -1, withscores=True)
        pipeline.hgetall(f"{key}:meta")
        members, meta = await pipeline.execute()
        return members, _texts(meta) or None

    async def statuses(self) -> dict[str, LoopStatus | None]:
        """Return the status of each enabled loop."""
        pipeline = self._valkey.pipeline(transaction=False)
        for loop in self._settings.loops:
            pipeline.hgetall(loop_key(self._settings.prefix, loop.name))
        answers = await pipeline.execute() if self._settings.loops else []
        return {
            loop.name: LoopStatus.from_texts(_texts(answer))
            for loop, answer in zip(self._settings.loops, answers, strict=True)
        }


def reports(
    statuses: Mapping[str, LoopStatus | None] | None, settings: PageSettings, now: datetime
) -> list[LoopReport]:
    """Say how each enabled loop fares.

    :param statuses: as they stand in Valkey; None if they cannot be read.
    """
    return [_report(loop, statuses, settings, now) for loop in settings.loops]


def _report(
    loop: EnabledLoop, statuses: Mapping[str, LoopStatus | None] | None, settings: PageSettings, now: datetime
) -> LoopReport:
    status = (statuses or {}).get(loop.name)
    health = settings.limits.judge(status, now)
    said: dict[str, Any] = {} if status is None else dict(vars(status))
    for instant in ("last_tick_at", "last_success_at"):
        said[instant] = utc_iso(said[instant]) if said.get(instant) else None
    own = {
        "name": loop.name,
        "dag_id": f"realtime_{loop.name}",
        "period_seconds": loop.settings.period_seconds,
        "state": health.state,
        "problem": "its status cannot be read" if statuses is None else health.problem,
        # Enough to tell two copies apart; with the whole token one could write in the holder's name.
        "holder": said["holder"][:_SHOWN_OF_HOLDER] if status is not None else None,
        "rows_are": _ROWS_ARE.get(loop.name),
        "rows_per_second": _rows_per_second(loop.name, status),
    }
    return LoopReport(**{**said, **own})


def _rows_per_second(name: str, status: LoopStatus | None) -> float | None:
    if status is None or _ROWS_ARE.get(name) is not RowsAre.NEW or status.period_seconds <= 0:
        return None
    return status.rows / status.period_seconds


def _key(template: KeyTemplate, values: Iterable[object]) -> str:
    return next(template.keys([[str(value)] for value in values]))


def _triples(template: KeyTemplate, keys: Iterable[bytes]) -> Iterable[Triple]:
    for key in keys:
        try:
            values = template.values(decoded(key))
        except UnicodeDecodeError:
            values = None
        # What is no server type is no key of ours.
        if values is not None and _SERVER_TYPE.fullmatch(values[1]):
            yield values[0], int(values[1]), values[2]


def _triple(key: Key) -> Triple:
    return key.package_nm, key.server_type, key.os_type


def _count(answer: object) -> int:
    # Nothing, or not written by the loop: nobody was there.
    try:
        return int(answer) if isinstance(answer, bytes) else 0
    except ValueError:
        return 0


def _texts(answer: Mapping[Any, Any]) -> dict[str, str]:
    # Names that are not valid UTF-8 are somebody else's.
    return {field.decode("utf-8", "replace"): value.decode("utf-8", "replace") for field, value in answer.items()}


def _figures(answer: Mapping[Any, Any], metrics: Sequence[str]) -> LoopFigures:
    texts = _texts(answer)
    if not texts:
        return LoopFigures(updated_at=None, figures=None)
    return LoopFigures(
        updated_at=texts.get("updated_at"),
        figures={metric: measured(metric, _number(texts.get(metric))) for metric in metrics},
    )


def _number(text: str | None) -> float | int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
