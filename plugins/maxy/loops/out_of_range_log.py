"""Warnings of values that a loop left out because they are out of range."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

_log = logging.getLogger(__name__)

_WARN_EVERY = timedelta(minutes=1)
_NAMED_KEYS = 5


class OutOfRangeLog:
    """Warns of values out of range: when there are more than at the last warning, and once a minute at the most.

    :param loop: the loop's name.
    """

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._told: Counter[str] = Counter()
        self._told_at: datetime | None = None

    def report(self, counts: Mapping[str, int], worst: Iterable[tuple[Sequence[Any], int]], now: datetime) -> None:
        """Hear of a tick.

        :param counts: by metric: all that is out of range now.
        :param worst: by key: how much is out of range there.
        :param now: the tick.
        """
        # A new day begins with less.
        self._told = Counter({metric: min(told, counts.get(metric, 0)) for metric, told in self._told.items()})
        grown = any(count > self._told[metric] for metric, count in counts.items())
        if not grown or (self._told_at is not None and timedelta(0) <= now - self._told_at < _WARN_EVERY):
            return
        self._told, self._told_at = Counter(counts), now
        keys = sorted(worst, key=lambda item: item[1], reverse=True)[:_NAMED_KEYS]
        _log.warning(
            "%s: values out of range are left out: %s; most of them at %s",
            self._loop,
            ", ".join(f"{metric} {count}" for metric, count in sorted(counts.items()) if count),
            ", ".join(f"{' '.join(map(str, key))!r} {count}" for key, count in keys if count),
        )
