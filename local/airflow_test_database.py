"""A metadata database for one ``dags test`` or ``tasks test``: the running scheduler must not see their runs.

It would take the tasks of a run that stands in its database, while the command works on them itself. The database is a
copy of an empty one that is migrated once for a version of Airflow, with the stack's connections, variables, pools and
DAGs, and is dropped when the command has ended. Any number of them at once is fine.
"""

from __future__ import annotations

import io
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import sql

from local.services.postgres import DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg2.extensions import cursor as Cursor

    from local.services.postgres import Postgres

_PREFIX = "airflow_test_"
_TEMPLATE = f"{_PREFIX}template"

# What a run needs to know and does not itself belong to a run, and what those tables refer to.
_COPIED_TABLES = (
    "team",
    "connection",
    "variable",
    "slot_pool",
    "dag_bundle",
    "dag_bundle_team",
    "dag",
    "dag_tag",
    "dag_owner_attributes",
    "dag_version",
    "dag_code",
    "serialized_dag",
    "asset",
    "asset_active",
    "asset_alias",
    "asset_alias_asset",
    "dag_schedule_asset_alias_reference",
    "dag_schedule_asset_name_reference",
    "dag_schedule_asset_reference",
    "dag_schedule_asset_uri_reference",
    "task_inlet_asset_reference",
    "task_outlet_asset_reference",
)

_SERIAL_COLUMNS = """
SELECT column_name, pg_get_serial_sequence(%(table)s, column_name)
FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = %(table)s
  AND pg_get_serial_sequence(%(table)s, column_name) IS NOT NULL
"""


@contextmanager
def airflow_test_database(
    postgres: Postgres, *, stamp: str, migrate: Callable[[str], None], report: Callable[[str], None]
) -> Iterator[str]:
    """Make one, yield its name, and drop it.

    :param postgres: the stack's server, which runs.
    :param stamp: of the version of Airflow; the template is made anew where it has another one.
    :param migrate: brings the database of the given name to that version.
    :param report: told when the template has to be made, which takes some seconds.
    :raises ProcessError: the template cannot be migrated.
    """
    name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
    # The locks tell others that somebody still needs the database, also if this process is killed.
    with _server(postgres) as server, _lock(server, name):
        _drop_abandoned(server)
        with _lock(server, _TEMPLATE):
            if _stamp_of(server, _TEMPLATE) != stamp:
                report("making the database for test runs, once for this version of Airflow")
                _make_template(server, stamp, migrate)
            _create(server, name, template=_TEMPLATE)
        try:
            _copy_metadata(postgres, name)
            yield name
        finally:
            _drop(server, name, force=True)


@contextmanager
def _server(postgres: Postgres) -> Iterator[Cursor]:
    with postgres.connection("postgres") as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


@contextmanager
def _lock(cursor: Cursor, name: str) -> Iterator[None]:
    cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
    try:
        yield
    finally:
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])


def _drop_abandoned(cursor: Cursor) -> None:
    """Drop what commands have left behind that were killed."""
    cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [_PREFIX])
    for (name,) in cursor.fetchall():
        if name == _TEMPLATE:
            continue
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        row = cursor.fetchone()
        if row is None or not row[0]:
            continue
        try:
            _drop(cursor, name, force=False)
        except psycopg2.errors.ObjectInUse:
            # Its command was killed, but not the Airflow that the command has started.
            continue
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])


def _stamp_of(cursor: Cursor, name: str) -> str | None:
    cursor.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        [name],
    )
    row = cursor.fetchone()
    return None if row is None else row[0]


def _make_template(cursor: Cursor, stamp: str, migrate: Callable[[str], None]) -> None:
    _drop(cursor, _TEMPLATE, force=True)
    _create(cursor, _TEMPLATE, template="template1")
    migrate(_TEMPLATE)
    # Last, so that an attempt which was interrupted is not taken for a template.
    cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(_TEMPLATE), sql.Literal(stamp)))


def _create(cursor: Cursor, name: str, *, template: str) -> None:
    cursor.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)),
    )


def _drop(cursor: Cursor, name: str, *, force: bool) -> None:
    statement = "DROP DATABASE IF EXISTS {} WITH (FORCE)" if force else "DROP DATABASE IF EXISTS {}"
    cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _copy_metadata(postgres: Postgres, name: str) -> None:
    with postgres.connection(DATABASE) as source, postgres.connection(name) as target:
        # One state of all tables, whatever the scheduler does meanwhile.
        source.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with source.cursor() as reader, target.cursor() as writer:
            # The tables refer to each other, also in circles; the copy is as consistent as the original.
            writer.execute("SET session_replication_role = replica")
            for table in _COPIED_TABLES:
                _copy_table(reader, writer, table)
        target.commit()


def _copy_table(reader: Cursor, writer: Cursor, table: str) -> None:
    name = sql.Identifier(table)
    rows = io.StringIO()
    reader.copy_expert(sql.SQL("COPY {} TO STDOUT").format(name), rows)
    rows.seek(0)
    writer.execute(sql.SQL("DELETE FROM {}").format(name))
    writer.copy_expert(sql.SQL("COPY {} FROM STDIN").format(name), rows)
    writer.execute(_SERIAL_COLUMNS, {"table": table})
    for column, sequence in writer.fetchall():
        writer.execute(
            sql.SQL("SELECT setval(%s, max({})) FROM {}").format(sql.Identifier(column), name),
            [sequence],
        )
