"""The routes of the API that are no family's."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.changes.decisions import public
from maxy.web.models import Alive

open_router = APIRouter(prefix="/api", tags=["liveness"])
router = APIRouter(prefix="/api", dependencies=[MAY_SEE_PLUGINS])


@open_router.get(
    "/alive",
    dependencies=[public("says that the process answers, and nothing else")],
    summary="Whether the process answers",
)
async def alive() -> Alive:
    """Say that this process answers; open to everybody, and says nothing else."""
    return Alive()


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """Describe the API."""
    # Its paths begin where Airflow has mounted the application.
    servers = [{"url": request.scope.get("root_path") or "/"}]
    return JSONResponse({**request.app.openapi(), "servers": servers})
