"""Users of Airflow's own auth manager, and toys in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.web.changes.toys import Shop
from tests.ui_support import Login

if TYPE_CHECKING:
    from tests.postgres_support import PostgresServer


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "of the web server " * 3)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://figures.example:8443/airflow")
    login = Login(monkeypatch)
    monkeypatch.setattr("maxy.web.changes.change.get_auth_manager", lambda: login._manager)
    return login


@pytest.fixture(scope="session")
def _shop(postgres_server: PostgresServer) -> Shop:
    return Shop(postgres_server.new_database())


@pytest.fixture
def shop(_shop: Shop) -> Shop:
    _shop.empty()
    return Shop(_shop.address)
