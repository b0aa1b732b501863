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
    from collections.abc import Iterator, Mapping, Sequence

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


def enabled_loops(
    realtime: RealtimeSettings,
    built_in: Mapping[str, str],
    shared_options: Mapping[str, Any] | None = None,
    *,
    others: Sequence[str] = (),
) -> Iterator[EnabledLoop]:
    """Yield the loops of a family that the settings enable.

    :param realtime: the settings of the family's loops.
    :param built_in: the family's own loops: import path of the class by name.
    :param shared_options: values of options that variables of their own set for all loops that have them.
    :param others: names of the enabled loops of other families.
    :raises ValueError: naming the setting that is wrong, or a class that is not there.
    """
    enabled = realtime.names(built_in)
    shared = shared_options or {}
    for name, path in enabled.items():
        found = _loop_class(name, path, realtime)
        where = f"{realtime.where}.loops.{name}"
        given = dict(realtime.loops.get(name, {}))
        if own := sorted(given.keys() & shared.keys()):
            # Live figures that leave out other rows than the daily ones would be figures of something else.
            raise ValueError(
                f"{where}.{own[0]}: this is no setting of one loop; the variable maxy_{own[0]} sets it for all"
            )
        given |= {option: value for option, value in shared.items() if option in found.options}
        rest = [other for other in enabled if other != name]
        settings = LoopSettings.from_json(
            found.complete_settings(given, others=[*rest, *others], where=where),
            options=found.options,
            period_seconds=found.period_seconds,
            where=where,
            rules=found.rules,
        )
        if realtime.deadline_minutes * 60 < 2 * settings.period_seconds:
            raise ValueError(
                f"{realtime.where}.deadline_minutes ({realtime.deadline_minutes:g}) and {where}.period_seconds"
                f" ({settings.period_seconds:g}) do not go together: a run must last for two ticks"
            )
        yield EnabledLoop(
            name,
            path,
            inspect.cleandoc(found.__doc__ or ""),
            settings,
            timedelta(minutes=realtime.deadline_minutes),
        )


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
