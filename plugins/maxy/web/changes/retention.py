"""Removes what nobody needs of the tables of the API's changes; scripts/clean_airflow.py does so once a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.postgres.connect import connect

if TYPE_CHECKING:
    from datetime import datetime

    from maxy.postgres.address import PostgresAddress

# Rows deleted in one transaction.
_BATCH_SIZE = 5_000
_COUNT = "SELECT count(*) FROM web_audit WHERE at < %s"
_DELETE = """
DELETE FROM web_audit WHERE id IN (SELECT id FROM web_audit WHERE at < %s ORDER BY at LIMIT %s)
"""
_DELETE_ANSWERS = "DELETE FROM web_idempotency WHERE expires_at < now()"


def remove_old_audit(
    address: PostgresAddress, before: datetime, *, dry_run: bool = False, batch_size: int = _BATCH_SIZE
) -> int:
    """Remove audit records from before a moment, and expired answers to repeats; return the number of records.

    :param before: with a zone.
    :param dry_run: only count the records.
    :param batch_size: records that are removed in one transaction.
    :raises psycopg.Error: the database cannot be asked, or has no such tables.
    """
    with connect(address, autocommit=True) as connection:
        if dry_run:
            counted = connection.execute(_COUNT, [before]).fetchone()
            return int(counted[0]) if counted else 0
        connection.execute(_DELETE_ANSWERS)
        removed = 0
        while count := connection.execute(_DELETE, [before, batch_size]).rowcount:
            removed += count
        return removed
