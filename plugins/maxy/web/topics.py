"""What live pages listen to. Each topic is read once, however many pages listen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import BaseModel

    from maxy.loops.status import LoopStatus

Store = TypeVar("Store")


def event(name: str, data: BaseModel) -> bytes:
    """Write a server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data.model_dump_json().encode())


@dataclass(frozen=True)
class Look(Generic[Store]):
    """One look at what a family's loops have left.

    :param store: reads the family's keys.
    :param statuses: of the enabled loops; None for one that has never ticked.
    :param now: when it was begun.
    """

    store: Store
    statuses: Mapping[str, LoopStatus | None]
    now: datetime


class Topic(ABC, Generic[Store]):
    """Something that pages listen to. It is read when a page begins to listen, and when one of its loops has ticked."""

    #: Names of the loops at whose ticks it changes.
    loops: frozenset[str]

    def __init__(self) -> None:
        #: Something of it is still being asked for, so it is to be read again soon.
        self.is_incomplete = False
        self._snapshot: bytes | None = None

    @abstractmethod
    async def read(self, look: Look[Store]) -> bytes | None:
        """Read what there is now.

        :return: the event for those who knew what there was before; None if nothing has changed.
        :raises maxy.web.sources.SourceUnavailable: ClickHouse cannot be asked, where it is.
        :raises redis.RedisError: Valkey cannot be asked.
        """

    @abstractmethod
    def everything(self) -> bytes:
        """Return the event for one who knows nothing yet."""

    def snapshot(self) -> bytes:
        """Return it, made once between two changes."""
        if self._snapshot is None:
            self._snapshot = self.everything()
        return self._snapshot

    def changed(self) -> None:
        """Forget the former snapshot."""
        self._snapshot = None


#: What a stream is of: how each topic is made, by a name that is the same for all pages that listen to it.
Topics = Mapping[Hashable, Callable[[], Topic[Store]]]
