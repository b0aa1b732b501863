"""One swap of partitions at a time, for each table.

Two ``REPLACE PARTITION`` of one partition at the same moment can leave the rows of both: seen in 283 of 1,440 rounds of
four at once, on the embedded engine (26.9), with nothing but the statements.
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from maxy.operators._identifiers import IN_ITS_DATABASE, table_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maxy.operators._partitions import RunStatement

_log = logging.getLogger(__name__)

# A swap takes milliseconds. A holder that is seen for so long has died, or waits for merges that take as long.
_SECONDS_OF_A_DEAD_HOLDER = 120.0
_SECONDS_TO_WAIT = 600.0
_PAUSE_SECONDS = (0.05, 0.25)


@contextmanager
def swap_lock(
    run: RunStatement,
    table: str,
    *,
    holder: str,
    own: str,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a table's lock for swaps: the table ``<table>__swap``, whose comment names the holder.

    :param holder: names this try of the task; without quotes or backslashes.
    :param own: how the names of all tries of this task begin: those before this one are dead.
    :raises AirflowException: if others hold it for ten minutes.
    """
    lock = f"{table}__swap"
    began = seen_since = monotonic()
    seen = ""
    while (found := _take(run, lock, holder)) != holder:
        now = monotonic()
        if found != seen:
            seen, seen_since = found, now
        if found.startswith(own) or now - seen_since >= _SECONDS_OF_A_DEAD_HOLDER:
            _log.warning("The lock %s is that of %s, which was cut off: taking it away", lock, found)
            _drop(run, lock)
        elif now - began >= _SECONDS_TO_WAIT:
            raise AirflowException(f"{lock}: other tasks hold it since {_SECONDS_TO_WAIT:.0f} s, the last one {found}")
        else:
            sleep(random.uniform(*_PAUSE_SECONDS))
    try:
        yield
    finally:
        try:
            _drop(run, lock)
        except AirflowException as error:
            # The swap's own error, if there is one, matters more.
            _log.warning("Lock left behind: %s", error)


def _take(run: RunStatement, lock: str, holder: str) -> str:
    """Try to take the lock.

    :return: who holds it now; empty if nobody does any more.
    """
    # Without an error if it is there: that would end the connection.
    run(f"CREATE TABLE IF NOT EXISTS {lock} (nothing UInt8) ENGINE = Null COMMENT '{holder}'", place=f"take {lock}")
    found = run(
        f"SELECT comment FROM system.tables WHERE name = %(table)s AND {IN_ITS_DATABASE}",
        place=f"who holds {lock}",
        parameters=table_parameters(lock),
    )
    return str(found.rows[0][0]) if found.rows else ""


def _drop(run: RunStatement, lock: str) -> None:
    run(f"DROP TABLE IF EXISTS {lock} SYNC", place=f"release {lock}")
