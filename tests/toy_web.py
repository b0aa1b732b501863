"""A family that exists in tests alone, with one of everything that a family may hand in for the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.errors import refuse
from maxy.web.family_web import FamilyWeb, View
from maxy.web.parts import HealthReport, Mount, Page, WebParts
from maxy.web.shell import opened
from maxy.web.shown_loops import ShownLoops
from maxy.web.sources import Sources
from maxy.web.topics import Look, Topic, event
from tests.ui_support import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from maxy.web.hub import LiveHub
    from maxy.web.shell import Shell

PREFIX = "/api/toys"
FILES = {
    "templates/toy.html": """{% extends "page.html" %}
{% block title %}Toys{% endblock %}
{% block head %}<h1 data-i18n="toy.title"></h1>{% endblock %}
{% block content %}<p id="toy"></p>{% endblock %}
""",
    "templates/toy-health.html": '<section id="toy-health"></section>\n',
    "static/toy/toy.css": "#toy { color: red; }\n",
    "static/toy/texts.js": """import { addTexts } from "../js/i18n.js";
addTexts({
  "page.toy": ["Toys", "장난감"],
  "toy.pageTitle": ["Toys", "장난감"],
  "toy.title": ["All toys", "모든 장난감"],
});
""",
    "static/toy/health.js": "// fills #toy-health\n",
    "static/js/toy.js": 'import { startPage } from "./page.js";\nstartPage();\n',
}


class NoSuchToy(LookupError):
    """There is none."""


class ToyCount(BaseModel):
    """How many there are."""

    count: int


class Toys:
    """Reads toys."""

    def __init__(self, valkey: Redis, settings: ShownLoops) -> None:
        self.prefix = settings.prefix


class ToyTopic(Topic[Toys]):
    """How many toys there are."""

    loops = frozenset({"toys"})

    async def read(self, look: Look[Toys]) -> bytes | None:
        self.changed()
        return self.snapshot()

    def everything(self) -> bytes:
        return event("toys", ToyCount(count=3))


@dataclass
class ToyService:
    """What the routes work with."""

    hub: LiveHub[ShownLoops, Toys]


def open_service(shell: Shell) -> ToyService:
    sources = Sources(shell.clients, lambda: ShownLoops(prefix="toys", loops=(), limits=LIMITS))
    return ToyService(shell.make_hub(sources, Toys))


def service(request: Request) -> ToyService:
    found: ToyService = opened(request, "toy")
    return found


below_pages = APIRouter(prefix="/api/toy", dependencies=[MAY_SEE_PLUGINS])
at_prefix = APIRouter(dependencies=[MAY_SEE_PLUGINS])


@below_pages.get("/count")
async def count(request: Request) -> ToyCount:
    """Count them."""
    assert isinstance(service(request), ToyService)
    return ToyCount(count=3)


@below_pages.get("/lost")
async def lost() -> None:
    """Look for one that is not there."""
    raise NoSuchToy("no such toy")


@at_prefix.get("/")
async def toys(request: Request) -> list[int]:
    """List them."""
    assert isinstance(service(request), ToyService)
    return [1, 2, 3]


@at_prefix.get("/{number}")
async def toy(number: int) -> dict[str, int]:
    """Return one."""
    if number > 3:
        raise HTTPException(404, "no such toy")
    return {"toy": number}


async def envelope(request: Request, error: HTTPException) -> JSONResponse:
    """Answer every refusal at the prefix as the toys' readers know it."""
    return JSONResponse({"code": error.status_code, "message": error.detail}, error.status_code, error.headers)


def toy_parts(directory: Path) -> WebParts:
    """Return the parts, with files that are written into a directory."""
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return WebParts(
        open=open_service,
        routers=[below_pages],
        exception_handlers={NoSuchToy: refuse},
        directory=directory,
        pages=[Page(name="toy")],
        keeps=["toy"],
        texts=["toy/texts.js"],
        styles=["toy/toy.css"],
        health=HealthReport(template="toy-health.html", script="toy/health.js"),
        mounts={PREFIX: Mount(routers=[at_prefix], exception_handlers={HTTPException: envelope})},
        description="Toys of all ages.",
    )


def toy_family(directory: Path) -> FamilyWeb:
    """Return the family."""
    return FamilyWeb(
        name="toy",
        parts=lambda: toy_parts(directory),
        views=(View(name="Toys", page="toy", category="Play"),),
        prefixes=(PREFIX,),
    )
