"""Every route has decided who may call it; the list is the application's own, so a new one is tested by itself."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse

from maxy.assembly import plugin_parts
from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.changes.change import changing
from maxy.web.changes.decisions import Decision, decisions, public
from maxy.web.changes.permissions import Permissions, Role, check_name
from maxy.web.changes.route import ChangeRoute
from tests.integration.web.changes import toys

PARTS = plugin_parts()
#: Of everything that the plugin has Airflow mount.
ROUTES = [
    decision
    for application in PARTS.applications
    for decision in decisions(PARTS.application(application["url_prefix"]))
]


@pytest.mark.parametrize("decision", ROUTES, ids=lambda decision: decision.path)
def test_every_route_of_the_product_has_decided(decision: Decision) -> None:
    assert decision.problem is None


def test_the_product_changes_nothing_yet_and_is_open_in_one_place() -> None:
    assert {decision.words for decision in ROUTES if decision.words != "reads by login"} == {
        "public: says that the process answers, and nothing else"
    }
    assert len(ROUTES) >= 17


def app_with(*routers: APIRouter) -> FastAPI:
    app = FastAPI(openapi_url=None)
    for router in routers:
        app.include_router(router)
    return app


def test_a_familys_routes_have_decided() -> None:
    words = {(*decision.methods, decision.path): decision.words for decision in decisions(app_with(toys.router))}
    assert words["GET", "/api/toys"] == "reads by login"
    assert words["POST", "/api/toys/{toy}/price"] == "changes by toys.price"
    assert words["DELETE", "/api/toys/{toy}"] == "changes by toys.remove"
    assert not [decision for decision in decisions(app_with(toys.router)) if decision.problem]


def problem_of(method: str, dependencies: list[Any], *, route_class: type[APIRoute] = ChangeRoute) -> str | None:
    router = APIRouter(route_class=route_class)
    router.add_api_route("/x", lambda: None, methods=[method], dependencies=dependencies)
    (decision,) = decisions(app_with(router))
    return decision.problem


@pytest.mark.parametrize(
    ("method", "dependencies", "problem"),
    [
        ("GET", [], "neither MAY_SEE_PLUGINS nor public"),
        ("POST", [], "has no changing"),
        ("POST", [MAY_SEE_PLUGINS], "has no changing"),
        ("POST", [public("harmless")], "has no changing"),
        ("PROPFIND", [MAY_SEE_PLUGINS], "has no changing"),
        ("GET", [public("harmless"), MAY_SEE_PLUGINS], "open to everybody and needs a login"),
        ("GET", [changing("a.b")], "GET must not change"),
        ("POST", [changing("a.b"), changing("a.c")], "several"),
        ("POST", [MAY_SEE_PLUGINS, changing("a.b")], "must be the first"),
        ("POST", [changing("a.b")], None),
        ("GET", [MAY_SEE_PLUGINS], None),
        ("GET", [public("harmless")], None),
    ],
)
def test_a_route_without_a_proper_decision_is_named(method: str, dependencies: list[Any], problem: str | None) -> None:
    found = problem_of(method, dependencies)
    assert (problem in (found or "")) if problem else (found is None)


def test_a_change_that_would_never_be_committed_is_named() -> None:
    found = problem_of("POST", [changing("a.b")], route_class=APIRouter().route_class)
    assert "route_class=ChangeRoute" in (found or "")


def test_what_is_no_route_of_the_frameworks_is_named() -> None:
    app = FastAPI(openapi_url=None)
    app.mount("/files", PlainTextResponse("x"))
    app.add_route("/plain", lambda request: PlainTextResponse("x"))
    assert ["asks nobody" in (decision.problem or "") for decision in decisions(app)] == [True, True]


@pytest.mark.parametrize("reason", ["", "  "])
def test_being_open_to_everybody_needs_a_reason(reason: str) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        public(reason)


@pytest.mark.parametrize("name", ["jobs", "Jobs.cancel", "jobs.", "jobs cancel", "default", ""])
def test_a_permission_is_a_family_and_an_action(name: str) -> None:
    with pytest.raises(ValueError, match=r"jobs\.cancel"):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a JSON object"),
        ("{", "not valid JSON"),
        ('{"jobs": "op"}', "'jobs' is no permission"),
        ('{"jobs.cancel": "viewer"}', "jobs.cancel: 'viewer' is no role, expected one of user, op, admin"),
        ('{"jobs.cancel": 2}', "2 is no role"),
        ('{"default": "nobody"}', "default: 'nobody' is no role"),
    ],
)
def test_a_wrong_setting_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"Airflow variable maxy_permissions: .*{message}"):
        Permissions.parse(text)


def test_what_is_not_named_has_the_default_role() -> None:
    permissions = Permissions.parse('{"default": "ADMIN", "jobs.cancel": "user"}')
    assert (permissions.least_role("jobs.cancel"), permissions.least_role("jobs.start")) == (Role.USER, Role.ADMIN)
    assert Permissions.parse(" ").least_role("jobs.start") is Role.OP
