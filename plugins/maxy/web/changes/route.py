"""The class of routes that change something: ends the transaction which their dependency has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpg import IntegrityConstraintViolationError
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from maxy.web.changes.database import FAILURES, LOST, unavailable
from maxy.web.changes.idempotency import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request, Response

    from maxy.web.changes.change import Change


class ChangeRoute(APIRoute):
    """Commits after an answer below 400, together with audit record and stored answer; undoes everything else.

    Not a dependency, for it has to see the answer before that is sent.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            request.state.change = None
            try:
                response = await answer(request)
            except Replay as replay:
                await _undo(request)
                return replay.response
            except Exception as error:
                lost = _is_lost(request, error)
                await _undo(request, 503 if lost else _status_of(error))
                if lost:
                    raise unavailable(error) from error
                raise
            except BaseException:
                # The server stops, or the caller has gone.
                await _undo(request)
                raise
            return await _finish(request, response)

        return handle


async def _finish(request: Request, response: Response) -> Response:
    change: Change | None = request.state.change
    if change is None:
        return response
    if response.status_code >= 400:
        await _undo(request, response.status_code)
        return response
    try:
        if type(getattr(response, "body", None)) is not bytes:
            raise TypeError("a route that changes something answers as a whole, not in a stream")
        await change.commit(response)
    except IntegrityConstraintViolationError:
        # A constraint that is looked at when the transaction ends: a defect of the route's, no outage.
        await _undo(request, 500)
        raise
    except FAILURES as error:
        await _undo(request, 503)
        raise unavailable(error) from error
    except BaseException:
        await _undo(request, 500)
        raise
    return response


async def _undo(request: Request, status: int | None = None) -> None:
    """Undo the change, if one has begun.

    :param status: of the answer, for the audit; None: there is nothing to record.
    """
    change: Change | None = request.state.change
    if change is None:
        return
    request.state.change = None
    await change.undo()
    if status is not None:
        await change.record_refusal(status)


def _is_lost(request: Request, error: Exception) -> bool:
    change: Change | None = request.state.change
    return change is not None and (isinstance(error, LOST) or change.is_lost)


def _status_of(error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    return 422 if isinstance(error, RequestValidationError) else 500
