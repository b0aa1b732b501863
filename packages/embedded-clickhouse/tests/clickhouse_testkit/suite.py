"""What the tests of the conformance suite are given."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_testkit.target import Client, ConnectClient, NativeClient, PlainHttp, Target


@dataclass
class Suite:
    """A server, a database of the suite's own on it, and a client of each kind.

    :param target: the server with the suite's database.
    :param plain: plain HTTP.
    :param connect: clickhouse_connect.
    :param native: clickhouse_driver.
    :param timezone: the server's zone.
    """

    target: Target
    plain: PlainHttp
    connect: ConnectClient
    native: NativeClient
    timezone: str
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def new_name(self) -> str:
        """A name for a table that no other test has."""
        return f"t{next(self._numbers)}"

    def client(self, name: str) -> Client:
        """The client of this name."""
        return {"plain": self.plain, "connect": self.connect, "native": self.native}[name]
