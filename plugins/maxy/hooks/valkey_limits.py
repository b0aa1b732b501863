"""For how long the package's clients wait for Valkey: one rule for tasks, pages and the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds to connect, and for each answer.
TIMEOUT_SECONDS = 5.0
#: How often what was not answered is tried again, on a new connection. redis-py's own default of ten times makes a
#: server that hangs hold up a task, or a tick and its lease, for a minute.
RETRIES = 1

_Retry = TypeVar("_Retry")


def connection_limits(retry: Callable[[NoBackoff, int], _Retry], timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """Return the time-outs and retries of a client, as redis-py names them.

    :param retry: redis-py's class for it, the blocking or the asynchronous one.
    :param timeout: seconds.
    """
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": retry(NoBackoff(), RETRIES)}
