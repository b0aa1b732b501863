"""The pages themselves: files of this package, and the chart library out of its installed Python package."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads the annotations
from starlette.staticfiles import StaticFiles

from maxy.ui.access import MAY_SEE_PLUGINS

_DIRECTORY = Path(__file__).resolve().parent / "static"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Names of the pages, below the application's prefix.
PAGES = ("live", "history", "health", "dag", "docs")

# For its answers to browsers that have the file already.
_given = StaticFiles(check_dir=False)
router = APIRouter(dependencies=[MAY_SEE_PLUGINS], include_in_schema=False)


def _page(name: str) -> None:
    @router.get(f"/{name}", name=name)
    async def page(request: Request) -> Response:
        return _answer(request, _DIRECTORY / f"{name}.html")


for _name in PAGES:
    _page(_name)


@router.get("/static/{path:path}")
async def static(request: Request, path: str) -> Response:
    """Give a file of the pages."""
    file = _files().get(path)
    if file is None:
        raise HTTPException(404, f"there is no file {path}")
    return _answer(request, file)


@cache
def _files() -> dict[str, Path]:
    """Return every file that may be given, by its path: nothing else can be asked for, however it is written."""
    own = {
        file.relative_to(_DIRECTORY).as_posix(): file
        for file in _DIRECTORY.rglob("*")
        if file.suffix in _MEDIA_TYPES and file.suffix != ".html"
    }
    plotly = find_spec("plotly")
    if plotly is None or plotly.origin is None:
        raise ModuleNotFoundError("plotly is not installed: it is in requirements.txt, for the pages' charts")
    return {**own, "vendor/plotly.min.js": Path(plotly.origin).parent / "package_data" / "plotly.min.js"}


def _answer(request: Request, file: Path) -> Response:
    response = _given.file_response(file, file.stat(), request.scope)
    # Asked for each time, so that an upgrade shows at once, and answered with 304 as long as nothing has changed.
    response.headers["Cache-Control"] = "private, no-cache"
    if response.status_code == 200:
        response.headers["Content-Type"] = _MEDIA_TYPES[file.suffix]
    return response
