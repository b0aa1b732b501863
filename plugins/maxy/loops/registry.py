"""The package's own live loops, and how any loop is found by its import path."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from maxy.loops.loop import Loop
from maxy.loops.options import LoopSettings, names
from maxy.statistics.row_rules import ROW_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from maxy.loops.options import RealtimeSettings

#: Import path of the class by name.
BUILT_IN: Mapping[str, str] = {
    "log_meter": "maxy.statistics.live.log_meter.LogMeter",
    "loading_time": "maxy.statistics.live.loading_time.LoadingTime",
    "response_time": "maxy.statistics.live.response_time.ResponseTime",
    "device": "maxy.statistics.live.device.Device",
    "page": "maxy.statistics.live.page.Page",
    "watch": "maxy.loops.watch.Watch",
}

_MUST_HAVE = ("name", "period_seconds")
_WATCHED = "watched"


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


@dataclass(frozen=True)
class EnabledLoop:
    """A loop that is to run.

    :param name: the loop's.
    :param path: import path of its class.
    :param description: what the class says of itself, Markdown.
    :param settings: checked, with its defaults filled in.
    """

    name: str
    path: str
    description: str
    settings: LoopSettings


def enabled_loops(
    realtime: RealtimeSettings, built_in: Mapping[str, str], row_rules: Mapping[str, Any] | None = None
) -> Iterator[EnabledLoop]:
    """Yield the loops that the settings enable.

    :param row_rules: values of ``maxy.statistics.row_rules.ROW_OPTIONS``, for each loop that has these options.
    :raises ValueError: naming the setting that is wrong, or a class that is not there.
    """
    enabled = realtime.names(built_in)
    for name, path in enabled.items():
        found = _loop_class(name, path, realtime)
        where = f"{realtime.where}.loops.{name}"
        given = dict(realtime.loops.get(name, {}))
        own_rules = sorted(given.keys() & ROW_OPTIONS.keys())
        if own_rules:
            # Live figures that leave out other rows than the daily ones would be figures of something else.
            raise ValueError(
                f"{where}.{own_rules[0]}: this is no setting of one loop;"
                f" the variable maxy_{own_rules[0]} sets it for all"
            )
        given |= {option: value for option, value in (row_rules or {}).items() if option in found.options}
        others = [other for other in enabled if other != name]
        if _WATCHED in found.options:
            given.setdefault(_WATCHED, others)
        settings = LoopSettings.from_json(
            given, options=found.options, period_seconds=found.period_seconds, where=where, rules=found.rules
        )
        if realtime.deadline_minutes * 60 < 2 * settings.period_seconds:
            raise ValueError(
                f"{realtime.where}.deadline_minutes ({realtime.deadline_minutes:g}) and {where}.period_seconds"
                f" ({settings.period_seconds:g}) do not go together: a run must last for two ticks"
            )
        if _WATCHED in found.options and (unknown := set(settings[_WATCHED]) - set(others)):
            # It would be reported as a loop that never ticks.
            raise ValueError(
                f"{where}.{_WATCHED}: {', '.join(sorted(unknown))} is not one of the other enabled loops: "
                f"{', '.join(others)}"
            )
        yield EnabledLoop(name, path, inspect.cleandoc(found.__doc__ or ""), settings)


def watched_loops(realtime: RealtimeSettings, built_in: Mapping[str, str], watch: str) -> list[str]:
    """Return the names of the loops that a watch looks at; no class is imported.

    :param watch: the watch's own name.
    :raises ValueError: naming the setting that is wrong.
    """
    others = [name for name in realtime.names(built_in) if name != watch]
    given = realtime.loops.get(watch, {}).get(_WATCHED)
    if given is None:
        return others
    try:
        wanted = names(given)
    except ValueError as error:
        raise ValueError(f"{realtime.where}.loops.{watch}.{_WATCHED}: {given!r} is not {error}") from None
    return [name for name in others if name in wanted]


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
