"""What orders the results that are published for a group, where they have an order of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from maxy.instants import to_nanoseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NANOSECONDS = 1000
# A day begins so long before it does in UTC where clocks are ahead most.
_FIRST_MIDNIGHT = timedelta(hours=14)


class Unit(StrEnum):
    """What a group's version counts."""

    READING = "order of reading"
    NANOSECONDS = "nanoseconds since 1970"
    DAYS = "days since 1970"
    NUMBER = "whole number"


@dataclass(frozen=True)
class Version:
    """A version, to be compared with others of its unit.

    :param number: of any size.
    """

    number: int
    unit: Unit = Unit.NUMBER

    @classmethod
    def of(cls, value: Any, zone: tzinfo) -> Version:
        """Return the version that a value stands for: a time, a date, or a whole number.

        :param zone: of times that carry none.
        :raises ValueError: for any other value.
        """
        if isinstance(value, datetime):
            moment = value if value.tzinfo is not None else value.replace(tzinfo=zone)
            return cls(to_nanoseconds(moment), Unit.NANOSECONDS)
        if isinstance(value, date):
            return cls((value - _EPOCH.date()).days, Unit.DAYS)
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(value)
        raise ValueError(f"{value!r} is neither a time, a date nor a whole number")

    @classmethod
    def parse(cls, value: Any, zone: tzinfo) -> Version:
        """Return the version that a value or its text stands for: whole numbers, and ISO 8601.

        :param zone: of times that carry none.
        :raises ValueError: for anything else.
        """
        if not isinstance(value, str):
            return cls.of(value, zone)
        text = value.strip()
        if text.removeprefix("-").isdecimal() and text.isascii():
            return cls(int(text))
        for read in (date.fromisoformat, datetime.fromisoformat):
            try:
                return cls.of(read(text), zone)
            except ValueError:
                continue
        raise ValueError(f"{value!r} is neither a time, a date nor a whole number")

    @property
    def moment(self) -> datetime | None:
        """The earliest instant that it stands for; None for a number, and for a time that no calendar has."""
        try:
            if self.unit is Unit.NANOSECONDS:
                return _EPOCH + self.number // _NANOSECONDS * _MICROSECOND
            if self.unit is Unit.DAYS:
                return _EPOCH + timedelta(days=self.number) - _FIRST_MIDNIGHT
        except OverflowError:
            return None
        return None

    def __str__(self) -> str:
        moment = self.moment
        if moment is None:
            return str(self.number)
        return moment.isoformat() if self.unit is Unit.NANOSECONDS else (moment + _FIRST_MIDNIGHT).date().isoformat()
