"""What a live loop is: something that does its work once per tick, with clients and the time given to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from maxy.loops.loop_log import LoopLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from redis.asyncio import Redis

    from maxy.clickhouse.client import ClickHouseReader
    from maxy.loops.observer import Observer
    from maxy.loops.options import LoopSettings, Option, Rule
    from maxy.valkey.lease import Lease


class Announcer(Protocol):
    """How a loop reaches people and their tools."""

    def gauge(self, name: str, value: float, loop: str) -> None:
        """Set a metric of a loop."""

    def service_gauge(self, name: str, value: float, **tags: str) -> None:
        """Set a metric of what the loops stand on.

        :param tags: which of several it is of, such as ``disk``.
        """

    async def alert(self, loop: str, message: str, *, cleared: bool) -> None:
        """Tell people of an incident of a loop, or of its end.

        :raises Exception: if that failed.
        """


@dataclass(frozen=True)
class LoopEnvironment:
    """What a loop works with; the same for all ticks of one trigger.

    :param clickhouse: asks the source tables.
    :param valkey: for reading; every write goes through ``lease``.
    :param lease: runs the scripts that write.
    :param prefix: of every key in Valkey, without the colon at its end.
    :param timezone: the statistics time zone: a day begins at midnight there.
    :param settings: the loop's own settings.
    :param announcer: reaches people; None where nobody listens.
    :param log: what the loop logs goes through it, so that the log stays bounded.
    :param watched_loops: returns the names of the loops that are to be watched, as the settings say at that moment. For
        the watch; None where nobody can tell.
    """

    clickhouse: ClickHouseReader
    valkey: Redis
    lease: Lease
    prefix: str
    timezone: ZoneInfo
    settings: LoopSettings
    announcer: Announcer | None = None
    log: LoopLog = field(default_factory=LoopLog)
    watched_loops: Callable[[], Awaitable[Sequence[str]]] | None = None


@dataclass(frozen=True)
class Tick:
    """One tick.

    :param now: the instant for which it computes, in UTC.
    """

    now: datetime


@dataclass(frozen=True)
class TickResult:
    """What a tick has done.

    :param rows: rows of the source that were new to it, or that it computed from where it recomputes.
    :param keys: keys in Valkey that it wrote.
    :param left_out: rows left out because a dimension is missing.
    :param out_of_range: values left out because they lie outside their metric's plausible range, by metric.
    """

    rows: int = 0
    keys: int = 0
    left_out: int = 0
    out_of_range: Mapping[str, int] = field(default_factory=dict)


class Loop(ABC):
    """One live loop.

    State that must outlive a restart belongs into Valkey, written in the same step as the data it belongs to. What is
    kept in the object is a mere shortcut: :meth:`reset` forgets it, and the next tick must do without.

    :param environment: clients and settings.
    """

    #: Names the loop in keys, settings, metrics and as ``realtime_<name>`` its DAG.
    name: ClassVar[str]
    #: From one tick to the next, unless the settings say otherwise.
    period_seconds: ClassVar[float]
    #: The loop's own settings.
    options: ClassVar[Mapping[str, Option]] = {}
    #: What must hold between two of its settings.
    rules: ClassVar[Sequence[Rule]] = ()

    def __init__(self, environment: LoopEnvironment) -> None:
        self.environment = environment

    @abstractmethod
    async def tick(self, tick: Tick) -> TickResult:
        """Do the work of one tick.

        Must leave the data right when it is cancelled or fails anywhere: the next tick then catches up.

        :raises maxy.valkey.lease.LeaseLost: when another copy has taken over.
        """

    def reset(self) -> None:  # noqa: B027 - a loop that remembers nothing has nothing to forget
        """Forget what was remembered of former ticks: another copy may have written since."""

    @classmethod
    def complete_settings(cls, given: Mapping[str, Any], *, others: Sequence[str], where: str) -> Mapping[str, Any]:
        """Return the loop's settings as they were given, with what depends on which other loops there are.

        :param given: not checked yet.
        :param others: names of the other enabled loops, of all families.
        :param where: the settings' place, for errors.
        :raises ValueError: naming the setting, if it does not fit the other loops.
        """
        return given

    async def observer(self, observer: Observer, resources: AsyncExitStack) -> Observer:
        """Return who is told about this loop's ticks.

        :param observer: who is told anyway.
        :param resources: ends what an observer of this loop's own must end, before the clients are closed.
        """
        return observer

    def own_key(self, part: str) -> str:
        """Return a private key of this loop, such as ``{prefix}:loop:<name>:state``."""
        return f"{loop_key(self.environment.prefix, self.name)}:{part}"


def loop_key(prefix: str, name: str) -> str:
    """Return the key of a loop's status hash; its private keys begin with it.

    No statistics key can be the same: their second part is a number where this has the loop's name.
    """
    return f"{prefix}:loop:{name}"


def is_loop_key(prefix: str, key: str) -> bool:
    """Whether a key is the status or a private key of some loop."""
    rest = key.removeprefix(loop_key(prefix, ""))
    return rest != key and rest[:1].isalpha()
