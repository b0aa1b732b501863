"""Whether the server is about to end: a stream that went on would hold it up until it is killed."""

from __future__ import annotations

import signal


def is_server_stopping() -> bool:
    """Whether uvicorn has been told to end.

    It waits for every answer to end, without a word to the application. But while it serves, it has a method of its
    server object as the handler of SIGTERM, and that object knows. Under another server this says no, and the server's
    own limit on a graceful end holds.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
