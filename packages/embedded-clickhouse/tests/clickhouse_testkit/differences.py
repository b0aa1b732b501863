"""The one list of tests that a server is known to fail, and why. Nothing else in the suite asks which server it has.

A test in the list must fail on the server that it is listed for, so an entry that is no longer true is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Server(StrEnum):
    """Which server an entry is about."""

    EMBEDDED = "embedded"
    OTHER = "other"


@dataclass(frozen=True)
class Difference:
    """Tests that fail on one kind of server.

    :param test: ``file::test`` or ``file::test[parameters]``.
    :param server: the server that fails them.
    :param reason: why, in words for whoever reads the report of a run.
    """

    test: str
    server: Server
    reason: str


DIFFERENCES: tuple[Difference, ...] = ()


def name_of(nodeid: str) -> str:
    """A test's name as it stands in the list."""
    return nodeid.rpartition("tests/conformance/")[2]


def difference(nodeid: str, server: Server) -> Difference | None:
    """The entry for a test, if there is one."""
    name = name_of(nodeid)
    plain = name.partition("[")[0]
    return next((entry for entry in DIFFERENCES if entry.server is server and entry.test in (name, plain)), None)
