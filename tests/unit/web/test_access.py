"""Who may see what, for every route that the application has; a new one is tested by itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute

from maxy.web.headers import CONTENT_SECURITY_POLICY
from tests.realtime_support import FakeClock
from tests.ui_support import MOUNT, Login, browsing, statistics_app, unreachable_clients

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    import httpx
    from fastapi import FastAPI

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
OPEN = {"/api/alive"}
PAGE_FILES = ("live", "history", "health", "dag", "docs")
METHODS = ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
VALUES = {"package_nm": "shop", "server_type": "1", "os_type": "iOS", "loop": "loading_time"}
EVERY_ANSWER = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def _routes() -> Iterator[str]:
    """Yield an address of each route, with the parameters that it needs."""
    for route in statistics_app(unreachable_clients(FakeClock(NOW))).routes:
        path: str = route.path  # type: ignore[attr-defined]
        parameters = get_flat_dependant(route.dependant).query_params if isinstance(route, APIRoute) else []
        query = "&".join(f"{one.alias}={VALUES[one.alias]}" for one in parameters if one.field_info.is_required())
        yield path.replace("{path:path}", "app.css") + (f"?{query}" if query else "")


ROUTES = sorted(_routes())
CLOSED = [route for route in ROUTES if route not in OPEN]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    # The stream would not end otherwise.
    monkeypatch.setattr("maxy.web.shell.is_server_stopping", lambda: True)
    return statistics_app(unreachable_clients(FakeClock(NOW)))


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    return Login(monkeypatch)


def ask(app: FastAPI, route: str, headers: dict[str, str] | None = None, *, method: str = "GET") -> httpx.Response:
    async def asking() -> httpx.Response:
        async with browsing(app, headers) as client:
            return await client.request(method, route.removeprefix("/"))

    return asyncio.run(asking())


def test_every_part_of_the_contract_has_a_route() -> None:
    """So that the tests below cannot come to nothing."""
    paths = {route.partition("?")[0] for route in ROUTES}
    api = (
        "alive",
        "keys",
        "today",
        "log-rate",
        "scatter",
        "history",
        "history.csv",
        "health",
        "stream",
        "openapi.json",
    )
    assert paths >= {f"/api/{name}" for name in api} | {f"/{name}" for name in PAGE_FILES} | {"/static/app.css"}


@pytest.mark.parametrize("route", CLOSED)
def test_who_is_not_logged_in_is_refused(route: str, app: FastAPI, login: Login) -> None:
    answer = ask(app, route)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


@pytest.mark.parametrize("route", CLOSED)
def test_a_token_that_has_expired_is_refused(route: str, app: FastAPI, login: Login) -> None:
    assert ask(app, route, login.headers("admin", seconds=-60)).status_code == 401


@pytest.mark.parametrize("route", CLOSED)
def test_a_token_that_is_none_is_refused(route: str, app: FastAPI, login: Login) -> None:
    head, claims, signature = login.token("admin").split(".")
    for token in ("none", f"{head}.{claims}.", f"{head}.{claims}.{signature[::-1]}"):
        # As Airflow's own routes answer.
        assert ask(app, route, {"Authorization": f"Bearer {token}"}).status_code == 403
        assert ask(app, route, {"Cookie": f"_token={token}"}).status_code == 403


@pytest.mark.parametrize("route", CLOSED)
def test_who_may_not_see_plugins_is_refused(route: str, app: FastAPI, login: Login) -> None:
    answer = ask(app, route, login.headers(None))
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


@pytest.mark.parametrize("role", ["viewer", "admin"])
@pytest.mark.parametrize("route", CLOSED)
def test_who_may_see_plugins_is_let_in(route: str, role: str, app: FastAPI, login: Login) -> None:
    # No server is there, so some of them have nothing to say.
    assert ask(app, route, login.headers(role)).status_code in (200, 503)
    assert ask(app, route, {"Cookie": f"_token={login.token(role)}"}).status_code in (200, 503)


def test_the_permission_that_is_asked_for_is_that_for_plugins(
    app: FastAPI, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(*, access_view: Any, user: Any) -> bool:
        asked.append(access_view)
        return False

    monkeypatch.setattr(login._manager, "is_authorized_view", refuse)
    for route in CLOSED:
        assert ask(app, route, login.headers("admin")).status_code == 403
    assert [view.value for view in asked] == ["PLUGINS"] * len(CLOSED)


def test_liveness_is_open_and_tells_nothing_else(app: FastAPI, login: Login) -> None:
    answer = ask(app, "/api/alive")
    assert (answer.status_code, answer.json()) == (200, {"alive": True})


@pytest.mark.parametrize("method", METHODS)
def test_nothing_can_be_changed(method: str, app: FastAPI, login: Login) -> None:
    for route in ROUTES:
        for headers in (None, login.headers("admin")):
            answer = ask(app, route, headers, method=method)
            assert (route, answer.status_code, answer.headers["allow"]) == (route, 405, "GET")


def has_headers(answer: httpx.Response) -> bool:
    return {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER


@pytest.mark.parametrize("route", [*ROUTES, "/", "/nothing", "/static/nothing", "/api/today", "/api/history?first=x"])
def test_every_answer_bears_the_security_headers(route: str, app: FastAPI, login: Login) -> None:
    for headers in (None, login.headers(None), login.headers("viewer")):
        for method in ("GET", "POST"):
            assert has_headers(ask(app, route, headers, method=method))


@pytest.mark.parametrize("route", [route for route in ROUTES if route.startswith("/api/")])
def test_no_answer_of_the_api_is_stored(route: str, app: FastAPI, login: Login) -> None:
    for headers in (None, login.headers("viewer")):
        assert ask(app, route, headers).headers["cache-control"] == "no-store"


def test_a_defect_is_an_answer_with_the_headers_and_without_the_reason(
    app: FastAPI, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise LookupError("something private")

    monkeypatch.setattr("maxy.statistics.web.routes._keys", fail)
    answer = ask(app, "/api/keys", login.headers("admin"))
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert has_headers(answer)


@pytest.mark.parametrize("page", PAGE_FILES)
def test_pages_are_asked_for_each_time_and_answered_shortly_if_nothing_changed(
    page: str, app: FastAPI, login: Login
) -> None:
    headers = login.headers("viewer")
    first = ask(app, f"/{page}", headers)
    assert (first.status_code, first.headers["cache-control"]) == (200, "private, no-cache")
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    again = ask(app, f"/{page}", {**headers, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "private, no-cache")
    assert ask(app, f"/{page}", {"If-None-Match": first.headers["etag"]}).status_code == 401


@pytest.mark.parametrize(
    ("file", "media_type"),
    [
        ("app.css", "text/css; charset=utf-8"),
        ("js/live.js", "text/javascript; charset=utf-8"),
        ("vendor/uplot.iife.min.js", "text/javascript; charset=utf-8"),
        ("statistics.css", "text/css; charset=utf-8"),
    ],
)
def test_files_of_the_pages_are_given(file: str, media_type: str, app: FastAPI, login: Login) -> None:
    answer = ask(app, f"/static/{file}", login.headers("viewer"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert len(answer.content) > 1000


@pytest.mark.parametrize(
    "path",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "%2e%2e%2fapp.py",
        "..%5capp.py",
        "js/../../app.py",
        "js%2f..%2f..%2fapp.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "vendor/../../../../../../../../etc/passwd",
        "vendor/__init__.py",
        "app.css%00.js",
        "APP.CSS/",
        "live.html",
        "js",
        "js/",
        "",
        ".",
        "\U0001f389",
    ],
)
def test_no_other_file_is_given(path: str, login: Login, app: FastAPI) -> None:
    # Sent as it is: a client would put such paths straight.
    async def asking() -> int:
        started: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                started.append(message["status"])

        raw = f"/static/{path}"
        await app(
            {
                "type": "http",
                "method": "GET",
                "path": unquote(raw),
                "raw_path": raw.encode(),
                "root_path": "",
                "query_string": b"",
                "headers": [(name.lower().encode(), text.encode()) for name, text in login.headers("admin").items()],
                "state": {},
            },
            receive,
            send,
        )
        return started[0]

    assert asyncio.run(asking()) == 404


def test_parts_of_a_file_can_be_asked_for(app: FastAPI, login: Login) -> None:
    headers = login.headers("viewer")
    for wanted, status in (("bytes=0-9", 206), ("bytes=9999999-", 416), ("pages=1", 400)):
        answer = ask(app, "/static/app.css", {**headers, "Range": wanted})
        assert answer.status_code == status
        assert has_headers(answer)


def test_the_document_describes_the_api_alone_and_where_it_is_mounted(app: FastAPI, login: Login) -> None:
    document = ask(app, "/api/openapi.json", login.headers("viewer")).json()
    assert document["servers"] == [{"url": MOUNT}]
    api = {route.partition("?")[0] for route in ROUTES if route.startswith("/api/")} - {"/api/openapi.json"}
    assert set(document["paths"]) == api
    assert all(set(methods) == {"get"} for methods in document["paths"].values())
    for path, methods in document["paths"].items():
        is_open = path in OPEN
        assert ("security" in methods["get"]) != is_open
        assert ({"401", "403"} <= methods["get"]["responses"].keys()) != is_open


def test_a_wrong_parameter_is_answered_with_a_sentence(app: FastAPI, login: Login) -> None:
    answer = ask(app, "/api/today?package_nm=&server_type=-1", login.headers("viewer"))
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": "package_nm: String should have at least 1 character; "
        "server_type: Input should be greater than or equal to 0; os_type: Field required"
    }
