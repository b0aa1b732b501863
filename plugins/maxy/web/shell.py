"""What all families' routes share, one per server process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from maxy.web.changes.database import ChangeDatabase
from maxy.web.hub import LiveHub, StreamLimit
from maxy.web.shutdown import is_server_stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request
    from redis.asyncio import Redis

    from maxy.web.shown_loops import ShownLoops
    from maxy.web.sources import Clients, Sources

Live = TypeVar("Live", bound="ShownLoops")
Store = TypeVar("Store")


@dataclass
class Shell:
    """Clients, the limit on streams, and what each family works with.

    :param clients: of Valkey and ClickHouse.
    :param changes: the database of routes that change something.
    """

    clients: Clients
    families: dict[str, Any] = field(default_factory=dict)
    streams: StreamLimit = field(default_factory=StreamLimit)
    changes: ChangeDatabase = field(default_factory=ChangeDatabase)

    def make_hub(self, sources: Sources[Live], open_store: Callable[[Redis, Live], Store]) -> LiveHub[Live, Store]:
        """Return a reader for a family's live pages.

        :param sources: whose settings say which loops there are.
        :param open_store: makes what reads the family's keys.
        """
        return LiveHub(sources, open_store, is_stopping=is_server_stopping, limit=self.streams)


def opened(request: Request, family: str) -> Any:
    """Return what a family has opened for its routes (see :class:`maxy.web.parts.WebParts`)."""
    shell: Shell = request.app.state.shell
    return shell.families[family]
