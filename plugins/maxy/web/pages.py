"""The pages themselves: made of this package's templates, files, and the chart library out of its installed package."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from maxy.web.access import MAY_SEE_PLUGINS

_DIRECTORY = Path(__file__).resolve().parent
_STATIC = _DIRECTORY / "static"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Asked for each time, so that an upgrade shows at once, and answered with 304 as long as nothing has changed.
_CACHE_CONTROL = "private, no-cache"
#: Names of the pages, below the application's prefix.
PAGES = ("live", "history", "health", "dag", "docs")

# For its answers to browsers that have the file already.
_given = StaticFiles(check_dir=False)
router = APIRouter(dependencies=[MAY_SEE_PLUGINS], include_in_schema=False)


def _page(name: str) -> None:
    @router.get(f"/{name}", name=name)
    async def page(request: Request) -> Response:
        html, etag = _rendered(name)
        answer = Response(
            html, media_type="text/html; charset=utf-8", headers={"ETag": etag, "Cache-Control": _CACHE_CONTROL}
        )
        if _given.is_not_modified(answer.headers, request.headers):
            return NotModifiedResponse(answer.headers)
        return answer


for _name in PAGES:
    _page(_name)


@router.get("/static/{path:path}")
async def static(request: Request, path: str) -> Response:
    """Give a file of the pages."""
    file = _files().get(path)
    if file is None:
        raise HTTPException(404, f"there is no file {path}")
    response = _given.file_response(file, file.stat(), request.scope)
    response.headers["Cache-Control"] = _CACHE_CONTROL
    if response.status_code == 200:
        response.headers["Content-Type"] = _MEDIA_TYPES[file.suffix]
    return response


@cache
def _rendered(name: str) -> tuple[bytes, str]:
    """Return a page and its ETag. Nothing of the viewer or of the figures is in it."""
    environment = Environment(
        loader=FileSystemLoader(_DIRECTORY / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(f"{name}.html").render(name=name).encode()
    return html, f'"{hashlib.sha256(html).hexdigest()[:32]}"'


@cache
def _files() -> dict[str, Path]:
    """Return every file that may be given, by its path: nothing else can be asked for, however it is written."""
    own = {file.relative_to(_STATIC).as_posix(): file for file in _STATIC.rglob("*") if file.suffix in _MEDIA_TYPES}
    plotly = find_spec("plotly")
    if plotly is None or plotly.origin is None:
        raise ModuleNotFoundError("plotly is not installed: it is in requirements.txt, for the pages' charts")
    return {**own, "vendor/plotly.min.js": Path(plotly.origin).parent / "package_data" / "plotly.min.js"}
