"""Answers that are no success, with a sentence in the same place each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from maxy.web.hub import TooManyPages
from maxy.web.models import Problem
from maxy.web.sources import SourceUnavailable

if TYPE_CHECKING:
    from fastapi import Request

    from maxy.web.parts import Handlers

#: What every route behind the login may answer besides what it is for.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "not logged in to Airflow"},
    403: {"model": Problem, "description": "not allowed to see Airflow's plugins"},
    503: {"model": Problem, "description": "Valkey or ClickHouse cannot be asked; the detail says which and why"},
}
#: What a route with parameters may answer.
BAD_PARAMETER: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "a parameter is wrong; the detail says which and why"}
}


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer what is asked for wrongly; the error says why."""
    return JSONResponse({"detail": str(error)}, status_code=422)


async def _bad_parameter(request: Request, error: Exception) -> JSONResponse:
    """Answer parameters that are missing or wrong, with a sentence as every other problem."""
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
    return JSONResponse({"detail": "; ".join(wrong)}, status_code=422)


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    """Answer what needs a server that cannot be asked, or one page too many."""
    headers = {"Retry-After": "30"} if isinstance(error, TooManyPages) else None
    return JSONResponse({"detail": str(error)}, status_code=503, headers=headers)


#: By what was raised; a family's own come in addition.
HANDLERS: Handlers = {
    SourceUnavailable: _unavailable,
    TooManyPages: _unavailable,
    RequestValidationError: _bad_parameter,
}
