"""The points of a scatter as a page draws them, and what has changed since it was last told."""

from __future__ import annotations

import json
import math
from itertools import count
from typing import TYPE_CHECKING, Any

from maxy.statistics.web.models import Points, ScatterName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_VALUE_FIELDS: Mapping[ScatterName, str] = {
    ScatterName.LOADING_TIME: "loading_time",
    ScatterName.RESPONSE_TIME: "intervaltime",
}
#: Addresses can be long; a page shows the beginning.
_LONGEST_TEXT = 200


class PointSet:
    """The points of one key, told apart by their texts, which are never the same twice.

    :param loop: whose points they are.
    :param ids: gives each point its number.
    """

    def __init__(self, loop: ScatterName, ids: Iterator[int] | None = None) -> None:
        self._loop = loop
        self._ids = ids or count(1)
        # A text is remembered by its hash: 14,000 of them are 8 MB.
        self._known: dict[int, int] = {}
        self._rows: dict[int, tuple[Any, ...]] = {}

    def replace(self, members: Sequence[tuple[bytes, float]]) -> tuple[Points, list[int]]:
        """Take over what Valkey has now.

        :param members: texts, and when they came in (epoch ms).
        :return: the points that are new, and the numbers of those that are gone.
        """
        marks = {hash(text): (text, score) for text, score in members}
        gone = [self._known.pop(mark) for mark in self._known.keys() - marks.keys()]
        for number in gone:
            self._rows.pop(number, None)
        added = []
        for mark in marks.keys() - self._known.keys():
            number = next(self._ids)
            self._known[mark] = number
            row = self._row(number, *marks[mark])
            if row is not None:
                self._rows[number] = row
                added.append(row)
        return _columns(added), gone

    def points(self) -> Points:
        """Return all points."""
        return _columns(self._rows.values())

    def _row(self, number: int, text: bytes, score: float) -> tuple[Any, ...] | None:
        try:
            point = json.loads(text)
            value = float(point[_VALUE_FIELDS[self._loop]])
            arrival = int(score)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # Not written by the loop.
            return None
        if not math.isfinite(value):
            return None
        return (
            number,
            arrival,
            value,
            _text(point.get("os_type")),
            _text(point.get("page_id") or point.get("req_url")),
            _text(point.get("device_model")),
            _text(point.get("app_ver")),
            _text(point.get("com_type")),
        )


def _text(value: object) -> str | None:
    # JSON can name halves of a character, which cannot be sent on.
    return None if value is None else str(value)[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


def _columns(rows: Iterable[tuple[Any, ...]]) -> Points:
    # Oldest first, so that newer points are drawn over older ones.
    ordered = sorted(rows, key=lambda row: (row[1], row[0]))
    columns: list[list[Any]] = [list(column) for column in zip(*ordered, strict=True)] or [
        [] for _ in Points.model_fields
    ]
    # The loop's rows are known to be of these types, and there are thousands of them.
    values: dict[str, Any] = dict(zip(Points.model_fields, columns, strict=True))
    return Points.model_construct(**values)
