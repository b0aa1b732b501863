"""Prefixes that answer themselves, without a slash at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send


class BarePaths:
    """Leads a request for a prefix itself to what is mounted there.

    A mount answers what is below its prefix, from the slash on; the prefix itself would fall to Airflow's route for
    unknown addresses of its API, or to its page for everything else. It stands in front of all of Airflow's routes, so
    it does no more than compare the path.

    :param app: what answers.
    :param prefixes: of the mounts.
    """

    def __init__(self, app: ASGIApp, prefixes: Iterable[str]) -> None:
        self._app = app
        self._prefixes = frozenset(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            # Airflow may itself be below a path.
            path = scope["path"]
            if path.removeprefix(scope.get("root_path", "")) in self._prefixes:
                scope = {**scope, "path": f"{path}/"}
        await self._app(scope, receive, send)
