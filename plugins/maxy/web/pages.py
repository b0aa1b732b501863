"""The pages themselves: made of the families' templates and files, and of the chart library's as it is installed."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.parts import Page

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from maxy.web.parts import WebParts

_DIRECTORY = Path(__file__).resolve().parent
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Asked for each time, so that an upgrade shows at once, and answered with 304 as long as nothing has changed.
_CACHE_CONTROL = "private, no-cache"
# uPlot, which the Python package youplot carries as its authors publish it; nothing of the package itself is used.
_LIBRARY = ("uplot.iife.min.js", "uplot.min.css")
#: The pages that are no family's; their links are behind those of the families.
_SHELLS_PAGES = (Page(name="health"), Page(name="docs"))
#: Who made what is no family's, in errors.
_SHELL = "the pages themselves"

# For its answers to browsers that have the file already.
_given = StaticFiles(check_dir=False)


def make_router(families: Mapping[str, WebParts]) -> APIRouter:
    """Return the routes of the pages and their files.

    :param families: by their names.
    :raises ValueError: two of them have a page or a file of the same name, or one names a file that is not there.
    """
    router = APIRouter(dependencies=[MAY_SEE_PLUGINS], include_in_schema=False)
    files = _own_files(families, "static", _MEDIA_TYPES)
    _check_names(families, files)
    templates = _Templates(families)

    def add(name: str) -> None:
        @router.get(f"/{name}", name=name)
        async def page(request: Request) -> Response:
            html, etag = templates.render(name)
            answer = Response(
                html, media_type="text/html; charset=utf-8", headers={"ETag": etag, "Cache-Control": _CACHE_CONTROL}
            )
            if _given.is_not_modified(answer.headers, request.headers):
                return NotModifiedResponse(answer.headers)
            return answer

    for name in templates.pages:
        add(name)

    @router.get("/static/{path:path}")
    async def static(request: Request, path: str) -> Response:
        """Give a file of the pages: nothing else can be asked for, however it is written."""
        file = files.get(path) or _library_files().get(path)
        if file is None:
            raise HTTPException(404, f"there is no file {path}")
        response = _given.file_response(file, file.stat(), request.scope)
        response.headers["Cache-Control"] = _CACHE_CONTROL
        if response.status_code == 200:
            response.headers["Content-Type"] = _MEDIA_TYPES[file.suffix]
        return response

    return router


class _Templates:
    """The pages, each made once. Nothing of the viewer or of the figures is in them.

    :param families: by their names.
    :raises ValueError: two have a page of the same name.
    """

    def __init__(self, families: Mapping[str, WebParts]) -> None:
        self.pages: dict[str, Page] = {}
        owners: dict[str, str] = {}
        of_families = [(name, page) for name, parts in families.items() for page in parts.pages]
        for owner, page in (*of_families, *((_SHELL, page) for page in _SHELLS_PAGES)):
            _claim("page", page.name, owner, owners)
            self.pages[page.name] = page
        self._reports = [parts.health for parts in families.values() if parts.health]
        self._context = {
            "bar": [page.name for page in self.pages.values() if page.is_in_bar],
            "keeps": " ".join(dict.fromkeys(kept for parts in families.values() for kept in parts.keeps)),
            "styles": ["app.css", *(style for parts in families.values() for style in parts.styles)],
            "texts": [text for parts in families.values() for text in parts.texts],
            "reports": [report.template for report in self._reports],
        }
        directories = [_DIRECTORY, *(parts.directory for parts in families.values() if parts.directory)]
        self._environment = Environment(
            loader=FileSystemLoader([directory / "templates" for directory in directories]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._rendered: dict[str, tuple[bytes, str]] = {}

    def render(self, name: str) -> tuple[bytes, str]:
        """Return a page and its ETag."""
        if name not in self._rendered:
            own = [report.script for report in self._reports] if name == "health" else [f"js/{name}.js"]
            scripts = [*self._context["texts"], *own]
            html = self._environment.get_template(f"{name}.html").render(name=name, scripts=scripts, **self._context)
            encoded = html.encode()
            self._rendered[name] = encoded, f'"{hashlib.sha256(encoded).hexdigest()[:32]}"'
        return self._rendered[name]


def _own_files(families: Mapping[str, WebParts], folder: str, suffixes: Container[str]) -> dict[str, Path]:
    """Return the files of the package by their paths below ``static`` or ``templates``.

    :raises ValueError: two families have one of the same path.
    """
    owners: dict[str, str] = {}
    found: dict[str, Path] = {}
    of_families = [(name, parts.directory) for name, parts in families.items() if parts.directory]
    for owner, directory in ((_SHELL, _DIRECTORY), *of_families):
        for file in sorted((directory / folder).rglob("*")):
            if file.suffix in suffixes:
                path = file.relative_to(directory / folder).as_posix()
                _claim("file", path, owner, owners)
                found[path] = file
    return found


def _check_names(families: Mapping[str, WebParts], files: Container[str]) -> None:
    """Check that what the families name is there: a browser would tell its user, and nobody else.

    :raises ValueError: a template, a script or a style is missing.
    """
    templates = _own_files(families, "templates", {".html"})
    for name, parts in families.items():
        reports = [parts.health] if parts.health else []
        wanted = {
            "template": ([f"{page.name}.html" for page in parts.pages] + [one.template for one in reports], templates),
            "script": ([f"js/{page.name}.js" for page in parts.pages] + [one.script for one in reports], files),
            "module of texts": (parts.texts, files),
            "style": (parts.styles, files),
        }
        for kind, (paths, present) in wanted.items():
            for path in paths:
                if path not in present:
                    raise ValueError(f"family {name}: there is no {kind} {path}")


def _claim(kind: str, name: str, owner: str, owners: dict[str, str]) -> None:
    if name in owners:
        raise ValueError(f"{kind} {name}: both {owners[name]} and {owner} have one of that name")
    owners[name] = owner


@cache
def _library_files() -> dict[str, Path]:
    """Return the files of the chart library."""
    carrier = find_spec("youplot")
    if carrier is None or carrier.origin is None:
        raise ModuleNotFoundError("youplot is not installed: it is in requirements.txt, for the pages' charts")
    vendor = Path(carrier.origin).parent / "vendor"
    return {f"vendor/{name}": vendor / name for name in _LIBRARY}
