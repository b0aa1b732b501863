"""What the live loops keep in Valkey, read for the pages. Nothing here writes.

Anybody can give a key another type. Such a key counts as absent until its loop writes it again, and hides no other one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maxy.loops.loop import loop_key
from maxy.statistics.live.device import Device
from maxy.statistics.live.loading_time import LoadingTime
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.live.page import Page
from maxy.statistics.live.response_time import ResponseTime
from maxy.statistics.web.figures import measured
from maxy.statistics.web.models import DEVICE_METRICS, PAGE_METRICS, Key, LoopFigures, ScatterName
from maxy.text import decoded
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.own_keys import own_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis.asyncio import Redis

    from maxy.statistics.live.scatter.loop import ScatterLoop
    from maxy.statistics.web.sources import PageSettings

SCATTERS: Mapping[ScatterName, type[ScatterLoop]] = {
    ScatterName.LOADING_TIME: LoadingTime,
    ScatterName.RESPONSE_TIME: ResponseTime,
}

_SERVER_TYPE = re.compile("[0-9]{1,10}")

#: Package and server type.
Pair = tuple[str, int]
#: Package, server type and system.
Triple = tuple[str, int, str]


@dataclass(frozen=True)
class KeptHash:
    """A hash of a loop's.

    :param fields: empty where there is none.
    :param wrong_key: its key, if that has another type.
    """

    fields: Mapping[str, str]
    wrong_key: str | None = None


@dataclass(frozen=True)
class KeptPoints:
    """A scatter of one package and server type.

    :param members: with the times they came in (epoch ms).
    :param meta: the hash beside it; None where there is none.
    :param wrong_key: the key of either, if that has another type.
    """

    members: Sequence[tuple[bytes, float]]
    meta: Mapping[str, str] | None
    wrong_key: str | None = None


class LiveStore:
    """Reads one installation's keys.

    :param valkey: a client whose answers are bytes.
    :param settings: of the statistics.
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
        indexes = [f"{loop_key(self._settings.prefix, loop.name)}:keys" for loop in (Device, Page)]
        for index in indexes:
            pipeline.zrange(index, 0, most)
        answers = await pipeline.execute(raise_on_error=False)
        device, page = (own_answer(answer, index) or [] for index, answer in zip(indexes, answers, strict=True))
        found = {*_triples(self._device, device), *_triples(self._page, page)}
        every = [Key(package_nm=package, server_type=server, os_type=system) for package, server, system in found]
        return sorted(every, key=lambda key: (key.package_nm, key.server_type, key.os_type))[: most + 1]

    async def today(self, triples: Sequence[Triple]) -> list[tuple[LoopFigures, LoopFigures]]:
        """Return the device and the page figures of each key, all read in one step."""
        templates = (self._device, self._page)
        hashes = iter(await self._hashes([_key(template, triple) for triple in triples for template in templates]))
        return [(_figures(next(hashes), DEVICE_METRICS), _figures(next(hashes), PAGE_METRICS)) for _ in triples]

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

    async def log_rates(self, pairs: Sequence[Pair]) -> list[KeptHash]:
        """Return the log meter's newest hash of each pair."""
        return await self._hashes([_key(self._log_meter, pair) for pair in pairs])

    async def points(self, loop: ScatterName, pair: Pair) -> KeptPoints:
        """Return a scatter's points, and the hash beside it."""
        key = _key(self._scatters[loop], pair)
        pipeline = self._valkey.pipeline(transaction=False)
        pipeline.zrange(key, 0, -1, withscores=True)
        pipeline.hgetall(f"{key}:meta")
        found, beside = await pipeline.execute(raise_on_error=False)
        members, meta = own_answer(found, key), _kept_hash(beside, f"{key}:meta")
        return KeptPoints(members or [], meta.fields or None, key if members is None else meta.wrong_key)

    async def _hashes(self, keys: Sequence[str]) -> list[KeptHash]:
        pipeline = self._valkey.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        answers = await pipeline.execute(raise_on_error=False)
        return [_kept_hash(answer, key) for key, answer in zip(keys, answers, strict=True)]


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


def _kept_hash(answer: Any, key: str) -> KeptHash:
    fields = own_answer(answer, key)
    return KeptHash({}, wrong_key=key) if fields is None else KeptHash(_texts(fields))


def _texts(answer: Mapping[Any, Any]) -> dict[str, str]:
    # Names that are not valid UTF-8 are somebody else's.
    return {field.decode("utf-8", "replace"): value.decode("utf-8", "replace") for field, value in answer.items()}


def _figures(kept: KeptHash, metrics: Sequence[str]) -> LoopFigures:
    texts = kept.fields
    if not texts:
        return LoopFigures(updated_at=None, figures=None, wrong_key=kept.wrong_key)
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
