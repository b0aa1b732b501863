"""How many files the parts may have open: every connection, and every column of a part of a table, is one."""

from __future__ import annotations

import resource

#: With 256, which macOS gives by default, the page loop fails; with this many, nothing was seen to.
LEAST_OPEN_FILES = 1024
# Asked for where the hard limit is "unlimited", which no system takes at its word: the most that Linux and macOS give.
_INSTEAD_OF_UNLIMITED = (1_048_576, 65_536, 10_240)


def raise_file_limit() -> str | None:
    """Raise this process's limit of open files, and so that of all it starts, to the highest that it may have.

    :return: a warning where that is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _INSTEAD_OF_UNLIMITED if hard == resource.RLIM_INFINITY else (hard, 10_240)
    for limit in wanted:
        if soft != resource.RLIM_INFINITY and soft < limit and _set_soft_limit(limit, hard):
            soft = limit
            break
    if soft == resource.RLIM_INFINITY or soft >= LEAST_OPEN_FILES:
        return None
    return (
        f"the parts may have only {soft:,} files open at a time, for that is the hard limit here (ulimit -Hn); below"
        f' {LEAST_OPEN_FILES:,} queries fail with "Too many open files" or "Cannot open file"'
    )


def _set_soft_limit(limit: int, hard: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (ValueError, OSError):
        return False
    return True
