"""The families' tables: numbered SQL files, applied once each, in ClickHouse and PostgreSQL. No Airflow.

``python -m scripts.migrate`` is the command; :class:`Migrations` does the same from Python.
"""

from maxy.migrations.clickhouse import ClickHouseMigrations, ClickHouseServer, SourceTables
from maxy.migrations.command import Migrations
from maxy.migrations.errors import MigrateError
from maxy.migrations.files import MIGRATIONS_DIRECTORY
from maxy.migrations.postgres import PostgresMigrations
from maxy.migrations.postgres_database import AdminLogin

__all__ = [
    "MIGRATIONS_DIRECTORY",
    "AdminLogin",
    "ClickHouseMigrations",
    "ClickHouseServer",
    "MigrateError",
    "Migrations",
    "PostgresMigrations",
    "SourceTables",
]
