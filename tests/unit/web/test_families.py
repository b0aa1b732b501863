"""A family hands in its pages and routes, and no other family's change for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from airflow import plugins_manager
from airflow.api_fastapi.app import init_plugins
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from maxy.statistics.web.family import WEB
from maxy.web.app import create_apps
from maxy.web.errors import refuse
from maxy.web.family_web import FamilyWeb, check_families
from maxy.web.hub import TooManyPages
from maxy.web.parts import HealthReport, Mount, Page, WebParts
from maxy.web.plugin_parts import PluginParts
from maxy.web.sources import Clients
from tests.conftest import ROOT
from tests.realtime_support import FakeClock
from tests.toy_web import PREFIX, ToyTopic, at_prefix, below_pages, toy_family, toy_parts
from tests.ui_support import Login, unreachable_clients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    return Login(monkeypatch)


@pytest.fixture
def parts(tmp_path: Path) -> PluginParts:
    """Of the statistics and of the toys."""
    return PluginParts([WEB, toy_family(tmp_path)], unreachable_clients(FakeClock(NOW)))


@asynccontextmanager
async def airflow(
    parts: PluginParts, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], root_path: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """Mount the applications as Airflow's API server does, before routes of its own."""
    outer = FastAPI(root_path=root_path)
    monkeypatch.setattr(plugins_manager, "get_fastapi_plugins", lambda: (parts.applications, parts.middlewares))
    init_plugins(outer)

    @outer.get("/api/v2/dags")
    def dags() -> list[str]:
        return ["Airflow's"]

    @outer.get("/api/{_:path}")
    def unknown(_: str) -> JSONResponse:
        return JSONResponse({"error": "API route not found"}, 404)

    transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=headers) as client:
        yield client


@pytest.fixture
def ask(parts: PluginParts, login: Login, monkeypatch: pytest.MonkeyPatch) -> Any:
    def asking(path: str, *, role: str | None = "viewer", method: str = "GET", root_path: str = "") -> httpx.Response:
        async def run() -> httpx.Response:
            headers = login.headers(role) if role else {}
            async with airflow(parts, monkeypatch, headers, root_path) as client:
                return await client.request(method, path)

        return asyncio.run(run())

    return asking


# --- Below the pages' prefix


def test_a_page_of_a_family_has_the_frame_and_its_own_files(ask: Any) -> None:
    page = ask("/maxy/toy").text
    assert "<h1 data-i18n=" in page
    styles = [page.index(f'href="static/{name}"') for name in ("app.css", "statistics.css", "toy/toy.css")]
    scripts = [page.index(f'src="static/{name}"') for name in ("js/statistics-texts.js", "toy/texts.js", "js/toy.js")]
    # A page's own script finds all texts.
    assert (styles, scripts) == (sorted(styles), sorted(scripts))
    assert ask("/maxy/static/toy/toy.css").text == "#toy { color: red; }\n"
    assert ask("/maxy/static/js/page.js").status_code == 200


@pytest.mark.parametrize("name", ["live", "toy", "health", "docs"])
def test_the_bar_of_every_page_leads_to_those_of_all_families(name: str, ask: Any) -> None:
    page = ask(f"/maxy/{name}").text
    places = [page.index(f'<a href="{one}" data-page="{one}"') for one in ("live", "history", "toy", "health", "docs")]
    assert places == sorted(places)
    assert 'data-page="dag"' not in page
    assert 'data-keeps="package_nm server_type os_type toy"' in page


def test_the_health_page_has_a_section_of_each_family(ask: Any) -> None:
    page = ask("/maxy/health").text
    assert page.index('id="loops"') < page.index('id="toy-health"')
    assert page.index('src="static/js/statistics-health.js"') < page.index('src="static/toy/health.js"')
    assert "js/health.js" not in page


def test_routes_of_all_families_are_behind_the_login_and_in_the_document(ask: Any) -> None:
    assert ask("/maxy/api/toy/count").json() == {"count": 3}
    for path in ("/maxy/toy", "/maxy/api/toy/count", "/maxy/static/toy/toy.css", PREFIX, f"{PREFIX}/1"):
        assert ask(path, role=None).status_code == 401
    document = ask("/maxy/api/openapi.json").json()
    assert {"/api/toy/count", "/api/history", "/api/alive"} <= set(document["paths"])
    assert "Toys of all ages." in document["info"]["description"]


def test_a_familys_exception_is_answered_by_its_handler(ask: Any) -> None:
    answer = ask("/maxy/api/toy/lost")
    assert (answer.status_code, answer.json()) == (422, {"detail": "no such toy"})


def test_views_are_those_of_all_families(parts: PluginParts) -> None:
    assert parts.views[-1] == {"name": "Toys", "href": "/maxy/toy", "url_route": "maxy-toy", "category": "Play"}
    assert [view["url_route"] for view in parts.views[:-1]] == ["maxy-live", "maxy-history", "maxy-health", "maxy-dag"]


def test_a_stream_has_the_topics_that_are_asked_for(parts: PluginParts) -> None:
    async def listen() -> list[tuple[str, Any]]:
        async def connect() -> Any:
            return object()

        clients = Clients(FakeClock(NOW), connect_valkey=connect)
        shell = create_apps([*parts._families], clients).pages.state.shell
        hub = shell.families["toy"].hub
        pieces = hub.listen({"toys": ToyTopic}, seconds=900)
        found = [await anext(pieces), await anext(pieces)]
        # The limit is on the streams of all families.
        shell.streams.most = 1
        with pytest.raises(TooManyPages):
            await anext(shell.families["statistics"].hub.listen({}, seconds=900))
        await pieces.aclose()
        assert shell.streams.open == 0
        hub._reader.cancel()
        return [(head, json.loads(data[6:])) for head, data, *_ in (piece.decode().split("\n") for piece in found)]

    found = dict(asyncio.run(listen()))
    assert found["event: toys"] == {"count": 3}
    assert (found["event: loops"]["loops"], found["event: loops"]["error"]) == ([], None)


# --- At prefixes of their own


@pytest.mark.parametrize("path", [PREFIX, f"{PREFIX}/", f"{PREFIX}?colour=red"])
@pytest.mark.parametrize("root_path", ["", "/airflow"])
def test_a_prefix_answers_itself(path: str, root_path: str, ask: Any) -> None:
    answer = ask(root_path + path, root_path=root_path)
    assert (answer.status_code, answer.json()) == (200, [1, 2, 3])
    assert "content-security-policy" in answer.headers


def test_what_is_beside_a_prefix_is_airflows(ask: Any) -> None:
    assert ask("/api/v2/dags").json() == ["Airflow's"]
    for path in ("/api/toysoldiers", "/api/toy", "/api/other"):
        assert (ask(path).status_code, ask(path).json()) == (404, {"error": "API route not found"})


def test_a_prefix_has_answers_to_errors_of_its_own(ask: Any) -> None:
    assert ask(f"{PREFIX}/4").json() == {"code": 404, "message": "no such toy"}
    assert ask(f"{PREFIX}/1/2").json() == {"code": 404, "message": "Not Found"}
    assert ask(PREFIX, role=None).json() == {"code": 401, "message": "Not authenticated"}
    assert ask(PREFIX, method="POST").json() == {"code": 405, "message": "Method Not Allowed"}
    # What it leaves to all, and what is elsewhere, is as everywhere.
    assert ask(f"{PREFIX}/ball").json().keys() == {"detail"}
    assert ask("/maxy/nothing").json() == {"detail": "Not Found"}


def test_nothing_stands_in_front_of_airflow_without_a_prefix() -> None:
    assert PluginParts([WEB]).middlewares == []


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("/", "all of Airflow"),
        ("", "begins with a slash"),
        ("/api", "Airflow answers at /api/v1"),
        ("/api/v2", "Airflow answers at /api/v2"),
        ("/api/v2/dags", "Airflow answers at /api/v2"),
        ("/api/v2beta", "begins like /api/v2"),
        ("/auth", "Airflow answers at /auth"),
        ("/auth/token", "Airflow answers at /auth"),
        ("/authors", "begins like /auth"),
        ("/ui", "Airflow answers at /ui"),
        ("/static/toys", "Airflow answers at /static"),
        ("/maxy", "the pages answer at /maxy"),
        ("/maxy/api/toys", "the pages answer at /maxy"),
        ("/api/toys/", "does not end with one"),
        ("api/toys", "begins with a slash"),
        ("/api/{toys}", "small letters"),
        ("/api//toys", "small letters"),
    ],
)
def test_a_prefix_that_would_take_the_place_of_another_is_refused(prefix: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"family toy: prefix {prefix!r}: .*{why}"):
        FamilyWeb(name="toy", parts=WebParts, prefixes=(prefix,))  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["/api/batch", "/api/ranking", "/api/search", "/toys", "/api/v3"])
def test_other_prefixes_are_free(prefix: str) -> None:
    FamilyWeb(name="toy", parts=WebParts, prefixes=(prefix,))  # type: ignore[arg-type]


def test_prefixes_of_two_families_do_not_overlap(tmp_path: Path) -> None:
    toys = toy_family(tmp_path)
    for prefix in (PREFIX, f"{PREFIX}/old"):
        with pytest.raises(ValueError, match=f"family other: prefix '{prefix}' and '{PREFIX}' of family toy"):
            check_families([toys, replace(toys, name="other", prefixes=(prefix,))])
    check_families([toys, replace(toys, name="other", prefixes=(f"{PREFIX}-old",))])


# --- What two hand in


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pages": [Page(name="live")]}, "page live: both statistics and toy"),
        ({"pages": [Page(name="docs")]}, "page docs: both toy and the pages themselves"),
        ({"routers": [below_pages, below_pages]}, "route GET /api/toy/count is there twice"),
        ({"mounts": {}}, r"family toy: mounts \[\] at prefixes \['/api/toys'\]"),
        ({"mounts": {PREFIX: Mount(routers=[at_prefix, at_prefix])}}, "route GET / is there twice"),
    ],
)
def test_what_is_handed_in_twice_is_refused(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    toys = replace(toy_family(tmp_path), parts=lambda: replace(toy_parts(tmp_path), **changes))
    with pytest.raises(ValueError, match=why):
        create_apps([WEB, toys])


@pytest.mark.parametrize("kind", [TooManyPages, HTTPException, LookupError, 404])
def test_an_exception_that_others_raise_too_is_no_familys(kind: Any, tmp_path: Path) -> None:
    parts = replace(toy_parts(tmp_path), exception_handlers={kind: refuse})
    with pytest.raises(ValueError, match=r"family toy: \w+ is raised on routes of others too"):
        create_apps([WEB, replace(toy_family(tmp_path), parts=lambda: parts)])


@pytest.mark.parametrize(
    "path", ["static/js/live.js", "static/js/page.js", "templates/live.html", "templates/page.html"]
)
def test_a_file_that_another_has_is_refused(path: str, tmp_path: Path) -> None:
    toys = toy_family(tmp_path)
    toys.parts()
    (tmp_path / path).write_text("", encoding="utf-8")
    name = path.partition("/")[2]
    with pytest.raises(ValueError, match=f"{name}: both (statistics|the pages themselves) and toy have one"):
        create_apps([WEB, toys])


@pytest.mark.parametrize("name", ["", "Toy", "1toy", "toy-box", "toy/../live"])
def test_a_familys_name_is_one(name: str) -> None:
    with pytest.raises(ValueError, match="a name is small letters"):
        FamilyWeb(name=name, parts=WebParts)  # type: ignore[arg-type]


def test_a_family_is_handed_in_once() -> None:
    with pytest.raises(ValueError, match="family statistics: handed in 2 times"):
        check_families([WEB, WEB])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"health": HealthReport(template="nothing.html", script="toy/health.js")}, "template nothing.html"),
        ({"health": HealthReport(template="toy-health.html", script="toy/no.js")}, "script toy/no.js"),
        ({"pages": [Page(name="box")]}, "template box.html"),
        ({"texts": ["toy/no.js"]}, "module of texts toy/no.js"),
        ({"styles": ["toy/no.css"]}, "style toy/no.css"),
    ],
)
def test_what_is_named_and_is_not_there_is_refused(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    toys = replace(toy_family(tmp_path), parts=lambda: replace(toy_parts(tmp_path), **changes))
    with pytest.raises(ValueError, match=f"family toy: there is no {why}"):
        create_apps([WEB, toys])


def test_the_plugin_alone_imports_nothing_that_answers_requests() -> None:
    """Every part of Airflow loads it, the tasks too."""
    code = (
        "import sys; sys.path.insert(0, 'plugins'); import maxy.statistics.web.family, maxy.web.plugin_parts; "
        "print([name for name in ('fastapi', 'starlette', 'jinja2', 'pydantic', 'airflow') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
