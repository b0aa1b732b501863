"""What each route has decided about who may call it; a route that has decided nothing is a defect, found by a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Depends
from fastapi.routing import APIRoute

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.changes.change import ChangePermission
from maxy.web.changes.route import ChangeRoute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant
    from fastapi.params import Depends as Dependency

_READING = frozenset({"GET", "HEAD"})


class Public:
    """The dependency of a route that is open to everybody.

    :param reason: why that is harmless.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self) -> None:
        """Let everybody in."""


def public(reason: str) -> Dependency:
    """Return what a route that needs no login has in its ``dependencies``.

    :param reason: why that is harmless; not blank.
    :raises ValueError: there is no reason.
    """
    if not reason.strip():
        raise ValueError("a route that is open to everybody needs a reason")
    dependency: Dependency = Depends(Public(reason))
    return dependency


@dataclass(frozen=True)
class Decision:
    """Who may call a route.

    :param problem: what is wrong with the decision; None: nothing.
    """

    methods: tuple[str, ...]
    path: str
    words: str
    problem: str | None = None


def decisions(app: FastAPI) -> list[Decision]:
    """Return the decision of every route of an application."""
    return [_decide(route) for route in app.routes]


def _decide(route: Any) -> Decision:
    path, methods = getattr(route, "path", str(route)), tuple(sorted(getattr(route, "methods", None) or ()))
    if not isinstance(route, APIRoute):
        return Decision(methods, path, "none", f"a {type(route).__name__} asks nobody who they are")
    calls = list(_calls(route.dependant))
    permissions = [call for call in calls if isinstance(call, ChangePermission)]
    if permissions:
        return Decision(methods, path, f"changes by {permissions[0].permission}", _changing_problem(route, permissions))
    reads = MAY_SEE_PLUGINS.dependency in calls
    reasons = [call.reason for call in calls if isinstance(call, Public)]
    if not set(methods) <= _READING:
        return Decision(methods, path, "none", "it may change something, and has no changing(...)")
    if reads and reasons:
        return Decision(methods, path, "both", "it is open to everybody and needs a login")
    if reads:
        return Decision(methods, path, "reads by login")
    if reasons:
        return Decision(methods, path, f"public: {reasons[0]}")
    return Decision(methods, path, "none", "it has neither MAY_SEE_PLUGINS nor public(...)")


def _changing_problem(route: APIRoute, permissions: list[ChangePermission]) -> str | None:
    if not isinstance(route, ChangeRoute):
        return "its router has no route_class=ChangeRoute, so the change would never be committed"
    if len(permissions) > 1:
        return "it has several changing(...)"
    if set(route.methods) & _READING:
        return "a GET must not change anything"
    if not isinstance(route.dependant.dependencies[0].call, ChangePermission):
        return "changing(...) must be the first of its dependencies"
    return None


def _calls(dependant: Dependant) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield one.call
        yield from _calls(one)
