"""Who is told about ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from maxy.loops.status import LoopStatus


class Observer(Protocol):
    """Is told about ticks, such as for metrics. Must not wait; what it raises is logged and changes nothing."""

    def ticked(self, status: LoopStatus) -> None:
        """Hear of a tick of this copy, good (``consecutive_failures`` is 0) or not."""
