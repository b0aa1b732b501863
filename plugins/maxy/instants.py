"""Instants: as readers of Valkey see them, and with more digits than Python's times have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: So many digits of a second Python's own times have.
MICROSECOND_DIGITS = 6
_MICROSECOND = timedelta(microseconds=1)


class PreciseInstant(datetime):
    """An instant with nanoseconds; to the rest of Python a time of microseconds.

    Two that differ in their nanoseconds alone are equal: compare :func:`to_nanoseconds` where that matters.
    """

    #: Nanoseconds on top of the microsecond, 0 to 999.
    nanosecond: int = 0

    @classmethod
    def from_nanoseconds(cls, nanoseconds: int, zone: tzinfo = UTC) -> Self:
        """Return the instant so many nanoseconds after 1970 began in UTC."""
        microseconds, nanosecond = divmod(nanoseconds, 1000)
        moment = (EPOCH + timedelta(microseconds=microseconds)).astimezone(zone)
        instant = cls.combine(moment.date(), moment.timetz())
        instant.nanosecond = nanosecond
        return instant


def precise_reader(digits: int, zone: tzinfo = UTC) -> Callable[[int], PreciseInstant]:
    """Return what makes an instant of a ``DateTime64``'s number.

    :param digits: of the seconds, 7 to 9.
    """
    factor = 10 ** (9 - digits)
    return lambda ticks: PreciseInstant.from_nanoseconds(ticks * factor, zone)


def utc_iso(moment: datetime) -> str:
    """Write an instant as readers expect it: UTC, microseconds, ``Z``; e.g. 2026-11-21T07:36:14.102570Z.

    :raises ValueError: if it carries no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} carries no time zone")
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def precise_utc_iso(moment: PreciseInstant) -> str:
    """Write an instant in the same form with nine digits, e.g. 2026-11-21T07:36:14.102570123Z."""
    return f"{utc_iso(moment)[:-1]}{moment.nanosecond:03d}Z"


def to_nanoseconds(moment: datetime) -> int:
    """Return the whole nanoseconds from the beginning of 1970 in UTC.

    :param moment: with its zone.
    """
    return (moment - EPOCH) // _MICROSECOND * 1000 + getattr(moment, "nanosecond", 0)
