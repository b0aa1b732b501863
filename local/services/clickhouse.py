"""The embedded ClickHouse (packages/embedded-clickhouse) as a part of the stack, and a plain HTTP client for it."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from local.processes import Command, DetachedProcess, ProcessError
from local.services.part import NotReady, Part, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from local.settings import Settings


class QueryError(RuntimeError):
    """ClickHouse refused a statement, or could not be reached; the text is its own."""


class AccessRefused(QueryError):
    """Wrong account or password."""


class ClickHouse(Part):
    """ClickHouse's engine behind its own HTTP and native protocols."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.local_dir / "clickhouse"
        process = DetachedProcess(
            "clickhouse", run_dir=settings.local_dir / "run", log=settings.local_dir / "logs" / "clickhouse.log"
        )
        ports = {
            "CLICKHOUSE_PORT": settings.clickhouse_port,
            "CLICKHOUSE_NATIVE_PORT": settings.clickhouse_native_port,
        }
        super().__init__(process, ports)

    def command(self) -> Command:
        settings = self._settings
        self._directory.mkdir(parents=True, exist_ok=True)
        argv: list[str | Path] = [
            *(sys.executable, "-m", "embedded_clickhouse", "serve", self._directory),
            *("--host", settings.host),
            *("--http-port", str(settings.clickhouse_port)),
            *("--tcp-port", str(settings.clickhouse_native_port)),
            *("--user", settings.clickhouse_user),
            *("--database", settings.clickhouse_database),
            *("--timezone", "UTC"),
        ]
        environment = clean_environment() | {
            "CLICKHOUSE_PASSWORD": settings.clickhouse_password,
            "PYTHONUNBUFFERED": "1",
        }
        return Command(argv=argv, environment=environment, directory=settings.root)

    def check(self) -> None:
        try:
            answer = self.query("SELECT 1", timeout=5)
        except AccessRefused:
            raise ProcessError(
                "clickhouse runs with another CLICKHOUSE_USER or CLICKHOUSE_PASSWORD: `python -m local down` first"
            ) from None
        except QueryError as error:
            raise NotReady(str(error)) from error
        if answer.strip() != "1":
            raise NotReady(f"SELECT 1 was answered with {answer!r}")

    def read_clock(self) -> float:
        return float(self.query("SELECT toUnixTimestamp64Micro(now64(6))", timeout=5)) / 1_000_000

    def query(self, sql: str, *, timeout: float = 600.0, **options: str) -> str:
        """Run one statement over HTTP and return its result as text.

        :param timeout: seconds.
        :param options: settings and parameters (`param_NAME`) of the request, such as default_format.
        :raises QueryError: with ClickHouse's own message.
        """
        settings = self._settings
        request = urllib.request.Request(
            f"{settings.clickhouse_url}/?{urlencode({'database': settings.clickhouse_database, **options})}",
            data=sql.encode(),
            headers={
                "X-ClickHouse-User": settings.clickhouse_user,
                "X-ClickHouse-Key": settings.clickhouse_password,
            },
        )
        try:
            with _OPENER.open(request, timeout=timeout) as response:
                # A result may hold bytes that are no text; it is for people to look at.
                return str(response.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise AccessRefused(error.read().decode(errors="replace").strip()) from None
            raise QueryError(error.read().decode(errors="replace").strip()) from None
        except (OSError, HTTPException) as error:
            raise QueryError(f"ClickHouse at {settings.clickhouse_url} cannot be reached: {error}") from None


# No proxy between this machine and itself.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
