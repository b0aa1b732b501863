"""What the methods of a loop's class must return, said in one short sentence where they return something else."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

from maxy.loops.loop import TickResult

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import Loop

_Result = TypeVar("_Result")

_COUNTS = ("rows", "keys", "left_out")


async def tick_result(loop: Loop, returned: Awaitable[TickResult]) -> TickResult:
    """Wait for what ``tick()`` has returned, and check it.

    :raises TypeError: naming the loop and its class, if it is not what the method must return.
    """
    result = await _awaited(loop, "tick", returned, TickResult, "a TickResult")
    for name in _COUNTS:
        count = getattr(result, name)
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise _error(loop, "tick", f"a TickResult with a whole number as {name}", count)
    # Shown and added up wherever the status goes.
    ranges = result.out_of_range
    if not isinstance(ranges, Mapping) or not all(
        isinstance(metric, str) and isinstance(count, Integral) for metric, count in ranges.items()
    ):
        raise _error(loop, "tick", "a TickResult with whole numbers by metric as out_of_range", ranges)
    return result


async def columns(loop: Loop, returned: Awaitable[Columns]) -> Columns:
    """Wait for what ``figures()`` has returned, and check it.

    :raises TypeError: naming the loop and its class, if it is not what the method must return.
    """
    # Not at the top: the client it imports takes a second, which parsing a DAG need not.
    from maxy.clickhouse.client import Columns

    result = await _awaited(loop, "figures", returned, Columns, "Columns")
    _check_shape(loop, result)
    return result


def _check_shape(loop: Loop, result: Columns) -> None:
    for column in result.columns:
        if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
            raise _error(loop, "figures", "Columns whose columns are lists of values", column)
    lengths = [len(column) for column in result.columns]
    # A result without rows may have no names.
    if len(result.names) != len(lengths) and (result.names or any(lengths)):
        numbers = f"{len(result.names)} names and {len(lengths)} columns"
        raise TypeError(f"figures() must return Columns with a name for each column, not {numbers}{_place(loop)}")
    if len(set(lengths)) > 1:
        numbers = ", ".join(f"{name} {length}" for name, length in zip(result.names, lengths, strict=True))
        raise TypeError(f"figures() must return Columns of one length, not {numbers}{_place(loop)}")


def check_reset(loop: Loop, returned: object) -> None:
    """Check what ``reset()`` has returned.

    :raises TypeError: naming the loop and its class, if it is something.
    """
    if returned is None:
        return
    if inspect.iscoroutine(returned):
        returned.close()
    raise _error(loop, "reset", "None", returned)


async def _awaited(loop: Loop, method: str, returned: Any, wanted: type[_Result], words: str) -> _Result:
    if not inspect.isawaitable(returned):
        if isinstance(returned, wanted):
            raise TypeError(f"{method}() must be written with async def{_place(loop)}")
        raise _error(loop, method, words, returned)
    result = await returned
    if not isinstance(result, wanted):
        raise _error(loop, method, words, result)
    return result


def _error(loop: Loop, method: str, wanted: str, returned: object) -> TypeError:
    return TypeError(f"{method}() must return {wanted}, not {type(returned).__name__}{_place(loop)}")


def _place(loop: Loop) -> str:
    found = type(loop)
    return f" (loop {loop.name}, class {found.__module__}.{found.__qualname__})"
