"""The page: who may see it, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from maxy.web.access import MAY_SEE_PLUGINS
from shop.page import app
from shop_plugin import ShopPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@pytest.fixture
def browser(servers: None) -> Iterator[TestClient]:
    """A browser of somebody who may see plugins."""
    app.dependency_overrides[MAY_SEE_PLUGINS.dependency] = lambda: None
    with TestClient(app) as client:
        yield client
    app.dependency_overrides.clear()


def test_it_shows_what_the_loop_has_written(browser: TestClient, valkey: redis.Redis) -> None:
    changed = "2026-11-20T12:00:07.000000Z"
    valkey.hset(
        "stats:realtime:shop:kr", mapping={"region": "kr", "orders": 3, "revenue": "<b>5.50", "updated_at": changed}
    )
    valkey.hset("stats:realtime:loop:shop_sales", "last_success_at", "2026-11-20T12:00:10.000000Z")
    page = browser.get("/today")
    assert page.status_code == 200
    lines = page.text.splitlines()
    assert f"<tr><th>kr<td>3<td>&lt;b&gt;5.50<td>{changed}" in lines
    assert "<tr><th>us<td>-<td>-<td>-" in lines
    assert "<p>Last looked at 2026-11-20T12:00:10.000000Z" in lines
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_without_a_tick_it_says_why_that_may_be(browser: TestClient) -> None:
    assert "is the DAG realtime_shop_sales paused?" in browser.get("/today").text


def test_without_valkey_it_says_so(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALKEY_PORT", "1")
    page = browser.get("/today")
    assert (page.status_code, page.json()) == (503, {"detail": "Valkey cannot be asked"})


def test_a_stranger_does_not_see_it(servers: None) -> None:
    assert TestClient(app).get("/today").status_code == 401


def test_the_plugin_leads_to_it() -> None:
    (view,) = ShopPlugin.external_views
    (mounted,) = ShopPlugin.fastapi_apps
    path = view["href"].removeprefix(mounted["url_prefix"])
    assert path in {route.path for route in app.routes}
