"""The pages' application without Airflow's API server: users of Airflow's own simple auth manager, and a client."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api import security
from airflow.models.revoked_token import RevokedToken
from fastapi import FastAPI

from maxy.loops.health import HealthLimits
from maxy.loops.options import RealtimeSettings
from maxy.loops.registry import enabled_loops
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.web.family import WEB
from maxy.statistics.web.parts import statistics_parts
from maxy.statistics.web.sources import PageSettings
from maxy.web.app import create_apps
from maxy.web.sources import Clients
from tests.realtime_support import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

    from maxy.clock import Clock

#: Where Airflow mounts the application.
MOUNT = "/maxy"
LIMITS = HealthLimits(stale_periods=4, stale_seconds=60, failures=3, lag_periods=2)


class Login:
    """Airflow's simple auth manager, which needs a database for one thing alone: whether a token was revoked.

    :param monkeypatch: has Airflow's own check of a request use it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "not a secret, since it is in a test " * 3)
        monkeypatch.setattr(RevokedToken, "is_revoked", staticmethod(lambda jti: False))
        self._manager = SimpleAuthManager()
        monkeypatch.setattr(security, "get_auth_manager", lambda: self._manager)

    def token(self, role: str | None, *, seconds: int = 3600) -> str:
        """Return a token of a user.

        :param role: such as ``viewer``; None: a user who may do nothing.
        :param seconds: until it expires.
        """
        user = SimpleAuthManagerUser(username="somebody", role=role)
        return self._manager.generate_jwt(user, expiration_time_in_seconds=seconds)

    def headers(self, role: str | None, *, seconds: int = 3600) -> dict[str, str]:
        """Return the headers of a program's request."""
        return {"Authorization": f"Bearer {self.token(role, seconds=seconds)}"}


@asynccontextmanager
async def browsing(app: FastAPI, headers: dict[str, str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Mount the application as Airflow does, and give a client below its prefix. Streams have to end to be answered."""
    outer = FastAPI()
    outer.mount(MOUNT, app)
    transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
    # The slash makes relative addresses.
    async with httpx.AsyncClient(transport=transport, base_url=f"http://airflow{MOUNT}/", headers=headers) as client:
        yield client


def page_settings(timezone: str = "UTC", **realtime: Any) -> PageSettings:
    """Return settings as the variables would give them.

    :param realtime: what ``maxy_realtime`` says.
    """
    parsed = RealtimeSettings.parse(json.dumps(realtime), where="test", built_in=LIVE_LOOPS)
    return PageSettings(
        timezone=ZoneInfo(timezone), prefix=PREFIX, loops=tuple(enabled_loops(parsed, LIVE_LOOPS)), limits=LIMITS
    )


def statistics_app(clients: Clients, read_settings: Callable[[], PageSettings] = page_settings) -> FastAPI:
    """Make the application with the pages of the statistics alone.

    :param read_settings: instead of Airflow's variables.
    """
    return create_apps([replace(WEB, parts=lambda: statistics_parts(read_settings))], clients).pages


def unreachable_clients(clock: Clock) -> Clients:
    """Return clients where both servers refuse."""

    async def refuse() -> Any:
        raise ConnectionRefusedError("nobody is there")

    return Clients(clock, connect_valkey=refuse, find_clickhouse=refuse)
