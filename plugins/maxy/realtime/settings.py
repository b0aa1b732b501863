"""Settings of the live loops: one JSON object, checked as a whole where the DAGs are parsed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
# Far beyond what makes sense, and far below what a date, ClickHouse or Valkey cannot hold in any unit.
_LARGEST_INT = 10**12
_LARGEST_NUMBER = 10**9
_LARGEST_UINT64 = 2**64 - 1
#: No copy's lease lasts longer.
LONGEST_LEASE_SECONDS = 3600


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


def positive_int(value: Any) -> int:
    """Accept a whole number above 0, up to a million millions."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_INT:
        raise ValueError("a whole number above 0" if _is_below(value, _LARGEST_INT) else f"{_LARGEST_INT} or less")
    return value


def positive_number(value: Any) -> float:
    """Accept a number above 0, up to a thousand millions."""
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
    """Accept a list of whole numbers of 0 or more that fit into 64 bits."""
    if not isinstance(value, list) or any(isinstance(item, bool) or not isinstance(item, int) for item in value):
        raise ValueError("a list of whole numbers")
    if not all(0 <= item <= _LARGEST_UINT64 for item in value):
        raise ValueError(f"a list of whole numbers from 0 to {_LARGEST_UINT64}")
    return sorted(set(value))


def names(value: Any) -> list[str]:
    """Accept a list of names."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of names")
    return value


#: What every loop can be told, besides what its own class declares in ``options``.
COMMON_OPTIONS: Mapping[str, Option] = {
    "tick_limit_seconds": Option(
        None,
        lambda value: None if value is None else positive_number(value),
        "a tick that takes longer is cut off and done again; by default four periods, and at least 30 seconds",
    ),
    "lease_seconds": Option(15.0, positive_number, "a copy that is silent for so long loses its place to another one"),
    "max_threads": Option(2, positive_int, "threads that ClickHouse may use for one statement"),
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

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` takes; plain JSON, for a trigger's arguments."""
        return {"period_seconds": self.period_seconds, **self.values}

    @classmethod
    def from_json(
        cls, given: Mapping[str, Any], *, options: Mapping[str, Option], period_seconds: float, where: str
    ) -> LoopSettings:
        """Check settings and fill in the defaults.

        :param given: what was set.
        :param options: what the loop declares.
        :param period_seconds: its default.
        :param where: the settings' place, for errors.
        :raises ValueError: naming the setting, for one that does not exist or has a wrong value.
        """
        known = {"period_seconds": Option(period_seconds, positive_number), **COMMON_OPTIONS, **options}
        _refuse_unknown(given, known, where)
        values = {
            name: _checked(given.get(name, option.default), option, f"{where}.{name}") for name, option in known.items()
        }
        return cls(values.pop("period_seconds"), values)


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
        try:
            given = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not valid JSON: {error}") from None
        if not isinstance(given, dict):
            raise ValueError(f"{where}: expected a JSON object")
        known = {
            "deadline_minutes": Option(360.0, positive_number),
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


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Make an object of JSON; of a name that is there twice, one value would be dropped silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        every = [name for name, _ in pairs]
        raise ValueError(f"{where}: {next(name for name in every if every.count(name) > 1)} is given twice")
    return content


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"{where}: there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def _checked(value: Any, option: Option, where: str) -> Any:
    try:
        return option.check(value)
    except ValueError as error:
        raise ValueError(f"{where}: {value!r} is not {error}") from None


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
