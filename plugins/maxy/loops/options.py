"""Settings of the live loops: one JSON object, checked as a whole where the DAGs are parsed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maxy._json_object import read_json_object
from maxy.text import shown_value
from maxy.valkey.lease_bounds import LONGEST_LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
# Far beyond what makes sense, and far below what a date, ClickHouse or Valkey cannot hold in any unit.
_LARGEST_INT = 10**12
_LARGEST_NUMBER = 10**9
_LARGEST_UINT64 = 2**64 - 1
# They are sent with each statement, as one parameter of 128 KiB at the most.
_MOST_NUMBERS = 1000


@dataclass(frozen=True)
class Option:
    """One setting of a loop.

    :param default: what holds unless it is set.
    :param check: returns the value as the loop gets it, or raises ``ValueError`` with what it should be.
    :param description: for people, without a full stop.
    """

    default: Any
    check: Callable[[Any], Any]
    description: str = ""


@dataclass(frozen=True)
class Rule:
    """What must hold between two settings of a loop.

    :param first: the one setting.
    :param second: the other one.
    :param holds: whether it holds.
    :param why: what is required, a sentence without a full stop.
    """

    first: str
    second: str
    holds: Callable[[LoopSettings], bool]
    why: str

    def check(self, settings: LoopSettings, where: str) -> None:
        """Refuse settings that contradict each other.

        :raises ValueError: naming both, and their values.
        """
        if not self.holds(settings):
            values = " and ".join(
                f"{where}.{name} ({settings.effective(name):g})" for name in (self.first, self.second)
            )
            raise ValueError(f"{values} do not go together: {self.why}")


def number_from(least: float, most: float) -> Callable[[Any], float]:
    """Return what accepts a number in these bounds, both included."""

    def check(value: Any) -> float:
        number = 0.0 if value == 0 and least == 0 and not isinstance(value, bool) else positive_number(value)
        if not least <= number <= most:
            raise ValueError(f"{least:g} or more" if number < least else f"{most:g} or less")
        return number

    return check


def int_from(least: int, most: int) -> Callable[[Any], int]:
    """Return what accepts a whole number in these bounds, both included; ``least`` is above 0."""

    def check(value: Any) -> int:
        number = positive_int(value)
        if not least <= number <= most:
            raise ValueError(f"{least} or more" if number < least else f"{most} or less")
        return number

    return check


def positive_int(value: Any) -> int:
    """Accept a whole number above 0, up to a trillion."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_INT:
        raise ValueError("a whole number above 0" if _is_below(value, _LARGEST_INT) else f"{_LARGEST_INT} or less")
    return value


def positive_number(value: Any) -> float:
    """Accept a number above 0, up to a billion."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LARGEST_NUMBER:
        raise ValueError("a number above 0" if _is_below(value, _LARGEST_NUMBER) else f"{_LARGEST_NUMBER} or less")
    return float(value)


def _is_below(value: Any, largest: int) -> bool:
    return not isinstance(value, (int, float)) or not value > largest


def non_negative_number(value: Any) -> float:
    """Accept 0 or a number above."""
    return 0.0 if value == 0 and not isinstance(value, bool) else positive_number(value)


def boolean(value: Any) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def whole_numbers(value: Any) -> list[int]:
    """Accept a list of whole numbers of 0 or more that fit into 64 bits, a thousand at the most."""
    if not isinstance(value, list) or any(isinstance(item, bool) or not isinstance(item, int) for item in value):
        raise ValueError("a list of whole numbers")
    if not all(0 <= item <= _LARGEST_UINT64 for item in value):
        raise ValueError(f"a list of whole numbers from 0 to {_LARGEST_UINT64}")
    if len(value) > _MOST_NUMBERS:
        raise ValueError(f"a list of {_MOST_NUMBERS} numbers or fewer")
    return sorted(set(value))


def some_whole_numbers(value: Any) -> list[int]:
    """Accept the same, but not an empty list, with which nothing would ever be shown."""
    numbers = whole_numbers(value)
    if not numbers:
        raise ValueError("a list of at least one whole number")
    return numbers


def names(value: Any) -> list[str]:
    """Accept a list of names."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of names")
    return value


#: What every loop can be told, besides what its own class declares in ``options``.
COMMON_OPTIONS: Mapping[str, Option] = {
    "tick_limit_seconds": Option(
        None,
        lambda value: None if value is None else number_from(1, 86_400)(value),
        "a tick that takes longer is cut off and done again; by default four periods, and at least 30 seconds",
    ),
    # A third of it is the pause between two signs of life.
    "lease_seconds": Option(
        15.0, number_from(3, LONGEST_LEASE_SECONDS), "a copy that is silent for so long loses its place to another one"
    ),
    "max_threads": Option(2, int_from(1, 1024), "threads that ClickHouse may use for one statement"),
    "prune_parts": Option(
        True,
        boolean,
        "skip parts of the source table that are older than the last tick; false where it is not a MergeTree table",
    ),
    "log_values": Option(True, boolean, "log keys and their values when they are written, as samples"),
    "log_values_per_minute": Option(5, positive_int, "keys that a minute logs at the most"),
    "log_values_per_tick": Option(20, positive_int, "keys that a tick logs at the most, of those of its minute"),
}


@dataclass(frozen=True)
class LoopSettings:
    """The settings of one loop.

    :param period_seconds: from the start of one tick to that of the next.
    :param values: every option by name, of ``COMMON_OPTIONS`` and of the loop itself, checked.
    """

    period_seconds: float
    values: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, option: str) -> Any:
        return self.values[option]

    @property
    def tick_limit_seconds(self) -> float:
        """Seconds after which a tick is cut off."""
        return float(self.values["tick_limit_seconds"] or max(4 * self.period_seconds, 30.0))

    @property
    def longest_pause_seconds(self) -> float:
        """Seconds between the ends of two ticks that follow each other without a failure, at the most."""
        return self.period_seconds + self.tick_limit_seconds

    def effective(self, name: str) -> Any:
        """Return a setting's value, or what holds where it is left open."""
        if name in ("period_seconds", "tick_limit_seconds"):
            return getattr(self, name)
        return self.values[name]

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` takes; plain JSON, for a trigger's arguments."""
        return {"period_seconds": self.period_seconds, **self.values}

    @classmethod
    def from_json(
        cls,
        given: Mapping[str, Any],
        *,
        options: Mapping[str, Option],
        period_seconds: float,
        where: str,
        rules: Sequence[Rule] = (),
    ) -> LoopSettings:
        """Check settings and fill in the defaults.

        :param given: what was set.
        :param options: what the loop declares.
        :param period_seconds: its default.
        :param where: the settings' place, for errors.
        :param rules: what must hold between them, of the loop.
        :raises ValueError: naming the setting, for one that does not exist or has a wrong value, and for two that
            contradict each other.
        """
        known = {"period_seconds": Option(period_seconds, number_from(0.5, 86_400)), **COMMON_OPTIONS, **options}
        _refuse_unknown(given, known, where)
        values = {
            name: _checked(given.get(name, option.default), option, f"{where}.{name}") for name, option in known.items()
        }
        settings = cls(values.pop("period_seconds"), values)
        for rule in rules:
            rule.check(settings, where)
        return settings


@dataclass(frozen=True)
class RealtimeSettings:
    """The settings of all loops.

    :param deadline_minutes: how long a run ticks before the next one takes over.
    :param enabled: names of the loops that have a DAG; None: all.
    :param own_loops: loops of the installation's own: import path of the class by name.
    :param loops: what was set for each loop, not yet checked: only its class knows its options.
    :param where: what the settings are called, for errors.
    """

    deadline_minutes: float = 360.0
    enabled: tuple[str, ...] | None = None
    own_loops: Mapping[str, str] = field(default_factory=dict)
    loops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    where: str = "settings"

    @classmethod
    def parse(cls, text: str, *, where: str, built_in: Mapping[str, str]) -> RealtimeSettings:
        """Read the settings of a JSON text.

        :param text: a JSON object.
        :param where: what the text is called, for errors.
        :param built_in: the package's own loops: import path of the class by name.
        :raises ValueError: naming the setting that is wrong.
        """
        return cls.from_json(read_json_object(text, where=where), where=where, built_in=built_in)

    @classmethod
    def from_json(cls, given: Mapping[str, Any], *, where: str, built_in: Mapping[str, str]) -> RealtimeSettings:
        """Check what the JSON object holds.

        :raises ValueError: naming the setting that is wrong.
        """
        known = {
            # Each end of a run costs Airflow a run, two task starts and some seconds without ticks.
            "deadline_minutes": Option(360.0, number_from(1, 43_200)),
            "enabled": Option(None, lambda value: None if value is None else tuple(names(value))),
            "own_loops": Option({}, _class_paths),
            "loops": Option({}, _objects),
        }
        _refuse_unknown(given, known, where)
        values = {
            name: _checked(given.get(name, option.default), option, f"{where}.{name}") for name, option in known.items()
        }
        settings = cls(**values, where=where)
        settings._check_names(where, built_in)
        return settings

    def _check_names(self, where: str, built_in: Mapping[str, str]) -> None:
        twice = sorted(self.own_loops.keys() & built_in.keys())
        if twice:
            raise ValueError(f"{where}.own_loops: {', '.join(twice)} is the name of one of the package's loops")
        names = {**built_in, **self.own_loops}
        _refuse_unknown(self.loops, names, f"{where}.loops")
        _refuse_unknown(dict.fromkeys(self.enabled or ()), names, f"{where}.enabled")

    def names(self, built_in: Mapping[str, str]) -> dict[str, str]:
        """Return the enabled loops: import path of the class by name."""
        every = {**built_in, **self.own_loops}
        return {name: path for name, path in every.items() if self.enabled is None or name in self.enabled}


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"{where}: there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def _checked(value: Any, option: Option, where: str) -> Any:
    try:
        if isinstance(value, float) and not math.isfinite(value):
            # Python's JSON has NaN and Infinity, which every comparison may take for right.
            raise ValueError("a number")
        return option.check(value)
    except ValueError as error:
        raise ValueError(f"{where}: {shown_value(value)} is not {error}") from None


def _class_paths(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(
        _NAME.fullmatch(name) and isinstance(path, str) and _CLASS_PATH.fullmatch(path) for name, path in value.items()
    ):
        raise ValueError('an object of names (a-z, 0-9, _) and import paths, such as {"orders": "shop.loops.Orders"}')
    return value


def _objects(value: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ValueError("an object that has an object of settings for each loop's name")
    return value
