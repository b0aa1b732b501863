"""How many files the process may have open: each thread of the engine has three, each connection one."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)

# Below it, statements of a few dozen parts fail with code 76 (CANNOT_OPEN_FILE).
ENOUGH_FILES = 1024
# What systems without a hard limit take all the same.
_MOST_FILES = 65_536


def raise_file_limit() -> int:
    """Raise the soft limit to the hard one, and say so in the log when that is not enough.

    :returns: the limit that holds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError) as error:
            _log.warning("The limit of open files stays at %d: %s", soft, error)
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_FILES:
        _log.warning(
            "Only %d files may be open at once. With less than %d, statements may fail with code 76: raise the hard "
            "limit (ulimit -Hn) before the start.",
            soft,
            ENOUGH_FILES,
        )
    return soft
