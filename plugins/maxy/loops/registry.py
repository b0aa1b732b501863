"""Which live loops are to run, and how any loop is found by its import path."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from maxy.loops.loop import Loop
from maxy.loops.options import LoopSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from maxy.loops.options import RealtimeSettings

_MUST_HAVE = ("name", "period_seconds")


def loop_class(path: str) -> type[Loop]:
    """Return the class at an import path such as ``maxy.statistics.live.log_meter.LogMeter``.

    :raises ValueError: naming the path, if there is no loop at it.
    """
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no live loop at {path!r}: {error}") from error
    if not isinstance(found, type) or not issubclass(found, Loop):
        raise ValueError(f"{path!r} is not a live loop: its class does not derive from maxy.loops.loop.Loop")
    missing = [*sorted(found.__abstractmethods__), *(part for part in _MUST_HAVE if not hasattr(found, part))]
    if missing:
        raise ValueError(f"{path!r} is not a whole live loop: its class lacks {', '.join(missing)}")
    if inspect.iscoroutinefunction(found.reset):
        raise ValueError(f"{path!r}: reset() must be written with def, not async def: it is called, not awaited")
    return found


def loop_settings(found: type[Loop], given: Mapping[str, Any], *, where: str) -> LoopSettings:
    """Check what was set for a loop, and fill in the defaults of its class.

    :param where: the settings' place, for errors.
    :raises ValueError: naming the setting that is wrong.
    """
    return LoopSettings.from_json(
        given, options=found.options, period_seconds=found.period_seconds, where=where, rules=found.rules
    )


@dataclass(frozen=True)
class EnabledLoop:
    """A loop that is to run.

    :param name: the loop's.
    :param path: import path of its class.
    :param description: what the class says of itself, Markdown.
    :param settings: checked, with its defaults filled in.
    :param duration: of a run, until the next one takes over.
    """

    name: str
    path: str
    description: str
    settings: LoopSettings
    duration: timedelta


@dataclass(frozen=True)
class RefusedLoop:
    """A loop that is to run, but cannot: its settings or its class are wrong. The others are none the worse for it.

    :param name: the loop's.
    :param path: import path of its class.
    :param reason: what is wrong, naming the setting.
    :param duration: of a run of it that was begun before.
    """

    name: str
    path: str
    reason: str
    duration: timedelta

    @property
    def description(self) -> str:
        """What its DAG says of itself."""
        return f"Refused: {self.reason}"

    def with_defaults(self) -> EnabledLoop | None:
        """Return it as it would be if nothing were set; None if its class is not there."""
        try:
            found = loop_class(self.path)
        except ValueError:
            return None
        settings = loop_settings(found, {}, where=self.name)
        return EnabledLoop(self.name, self.path, self.description, settings, self.duration)


def enabled_loops(
    realtime: RealtimeSettings,
    built_in: Mapping[str, str],
    shared_options: Mapping[str, Any] | None = None,
    *,
    others: Sequence[str] = (),
    refuse: Callable[[RefusedLoop], None] | None = None,
) -> Iterator[EnabledLoop]:
    """Yield the loops of a family that the settings enable.

    :param realtime: the settings of the family's loops.
    :param built_in: the family's own loops: import path of the class by name.
    :param shared_options: values of options that variables of their own set for all loops that have them.
    :param others: names of the enabled loops of other families.
    :param refuse: is told of a loop that cannot run; without it, that is an error.
    :raises ValueError: naming the setting that is wrong, or a class that is not there.
    """
    enabled = realtime.names(built_in)
    duration = timedelta(minutes=realtime.deadline_minutes)
    for name, path in enabled.items():
        rest = [*(other for other in enabled if other != name), *others]
        try:
            found = _loop_class(name, path, realtime)
            settings = _enabled_settings(found, realtime, shared_options or {}, rest)
        except ValueError as error:
            if refuse is None:
                raise
            refuse(RefusedLoop(name, path, str(error), duration))
        else:
            yield EnabledLoop(name, path, inspect.cleandoc(found.__doc__ or ""), settings, duration)


def _enabled_settings(
    found: type[Loop], realtime: RealtimeSettings, shared: Mapping[str, Any], others: Sequence[str]
) -> LoopSettings:
    where = f"{realtime.where}.loops.{found.name}"
    given = dict(realtime.loops.get(found.name, {}))
    if own := sorted(given.keys() & shared.keys()):
        # Live figures that leave out other rows than the daily ones would be figures of something else.
        raise ValueError(
            f"{where}.{own[0]}: this is no setting of one loop; the variable maxy_{own[0]} sets it for all"
        )
    given |= {option: value for option, value in shared.items() if option in found.options}
    settings = loop_settings(found, found.complete_settings(given, others=others, where=where), where=where)
    if realtime.deadline_minutes * 60 < 2 * settings.period_seconds:
        raise ValueError(
            f"{realtime.where}.deadline_minutes ({realtime.deadline_minutes:g}) and {where}.period_seconds"
            f" ({settings.period_seconds:g}) do not go together: a run must last for two ticks"
        )
    return settings


def _loop_class(name: str, path: str, realtime: RealtimeSettings) -> type[Loop]:
    if name not in realtime.own_loops:
        return loop_class(path)
    where = f"{realtime.where}.own_loops.{name}"
    try:
        found = loop_class(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if found.name != name:
        raise ValueError(f"{where}: the class at {path!r} is the loop {found.name!r}")
    return found
