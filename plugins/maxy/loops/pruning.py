"""How far back a loop's ticks read parts: one rule for every loop that asks for what has arrived."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from maxy.clickhouse.parts import PartPruner

if TYPE_CHECKING:
    from maxy.loops.loop import LoopEnvironment
    from maxy.loops.options import LoopSettings

#: By how much the server's clock may be ahead: half of how long parts are read after they are old.
LARGEST_SKEW = timedelta(seconds=30)


def part_pruner(environment: LoopEnvironment, table: str) -> PartPruner:
    """Return the pruner of a loop with the setting ``lateness_seconds``.

    :param environment: of the loop.
    :param table: the table's name in the connection's database.
    """
    return PartPruner(environment.clickhouse, table, margin=pruning_margin(environment.settings))


def pruning_margin(settings: LoopSettings) -> timedelta:
    """Return how long parts are read after their rows were inserted.

    :param settings: of a loop; a row may be late, a tick may look late, and the server's clock may be ahead.
    """
    return timedelta(seconds=settings["lateness_seconds"] + settings.tick_limit_seconds) + 2 * LARGEST_SKEW
