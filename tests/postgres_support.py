"""A PostgreSQL server of the tests' own: the embedded stack's, in a folder of its own."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from local.services.postgres import ROLE, Postgres
from local.settings import read_settings
from maxy.migrations import AdminLogin, PostgresMigrations
from maxy.postgres.address import PostgresAddress
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count()


@dataclass(frozen=True)
class PostgresServer:
    """A server that runs.

    :param address: of a role and a database that are not there yet.
    :param admin: who may make them.
    """

    address: PostgresAddress
    admin: AdminLogin

    def new_address(self) -> PostgresAddress:
        """Return the address of a role and a database that nobody has made yet."""
        name = f"maxy_{next(_numbers)}"
        return replace(self.address, user=name, database=name)

    def new_database(self) -> PostgresAddress:
        """Make a database with the package's tables."""
        address = self.new_address()
        PostgresMigrations().apply(address, admin=self.admin)
        return address

    def as_admin(self, database: str = "postgres") -> PostgresAddress:
        return replace(self.address, user=self.admin.user, password=self.admin.password, database=database)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    # Not below pytest's own folder, which no other user may enter: as root, the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="maxy-postgres-") as folder:
        settings = read_settings(ROOT, {"MAXY_LOCAL_DIR": str(Path(folder) / "local"), "MAXY_ENV_FILE": os.devnull})
        postgres = Postgres(settings)
        try:
            postgres.start(threading.Event())
            yield PostgresServer(
                PostgresAddress(host=str(postgres.socket_directory), password=settings.maxy_postgres_password),
                AdminLogin(ROLE, settings.postgres_password),
            )
        finally:
            postgres.process.stop()
            postgres.close_folders()
            postgres.remove_socket_directory()
