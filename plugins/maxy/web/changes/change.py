"""One change: its transaction, and what is written in it besides the change itself."""

from __future__ import annotations

import logging
import re
import uuid
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.changes.audit import AuditRecord, Result
from maxy.web.changes.csrf import check_csrf
from maxy.web.changes.database import FAILURES, ChangeDatabase, unavailable
from maxy.web.changes.idempotency import HEADER, IdempotencyKey, key_of
from maxy.web.changes.origin import check_origin
from maxy.web.changes.permissions import Role, check_name, has_role, role_names

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.transaction import Transaction
    from fastapi.params import Depends as Dependency
    from fastapi.responses import Response

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,100}", re.ASCII)


class Change:
    """A change that is allowed and under way. Its connection is in a transaction until the route has answered.

    :param connection: of the package's database.
    :param user: Airflow's.
    :param key: of a request that may be a repeat.
    """

    def __init__(
        self,
        database: ChangeDatabase,
        connection: asyncpg.Connection,
        user: Any,
        record: AuditRecord,
        key: IdempotencyKey | None,
    ) -> None:
        self.connection = connection
        self.user = user
        self._database = database
        self._record = record
        self._key = key
        self._transaction: Transaction = connection.transaction()

    @property
    def who(self) -> str:
        """The user's id, such as for what is to be theirs."""
        return self._record.who

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone, so that nothing of the change will be there."""
        return bool(self.connection.is_closed())

    async def is_admin(self) -> bool:
        """Whether the user may change what others own."""
        return await _has_role(self.user, Role.ADMIN)

    def describe(self, *, target: str | None = None, **details: Any) -> None:
        """Say for the audit record what is changed.

        :param target: such as ``job 17``.
        :param details: what JSON can hold. Secrets do not belong here; by the names that Airflow masks they are masked.
        """
        if target is not None:
            self._record.target = target
        self._record.details.update(details)

    async def begin(self) -> None:
        """Begin the transaction.

        :raises Replay: the request was answered before.
        :raises HTTPException: 409 or 422, as :meth:`IdempotencyKey.claim`.
        """
        await self._transaction.start()
        if self._key is not None:
            await self._key.claim(self.connection)

    async def commit(self, response: Response) -> None:
        """Write the audit record and the answer, and commit; then the connection is given back."""
        await self._record.write(self.connection, Result.DONE, response.status_code)
        if self._key is not None:
            await self._key.store(self.connection, response)
        await self._transaction.commit()
        await self._database.release(self.connection)

    async def undo(self) -> None:
        """Undo all of it, and give the connection back."""
        try:
            if self.connection.is_in_transaction():
                await self._transaction.rollback()
        except FAILURES as error:
            # The server has undone it then, or will when it sees that the connection is gone.
            logger.warning("a change could not be undone by its own connection: %s", error)
        finally:
            await self._database.release(self.connection)

    async def record_refusal(self, status: int) -> None:
        """Write down, after all was undone, that the change was tried; what fails at that is only logged."""
        result = Result.REFUSED if 400 <= status < 500 else Result.FAILED
        try:
            connection = await self._database.acquire()
            try:
                await self._record.write(connection, result, status)
            finally:
                await self._database.release(connection)
        except Exception:
            logger.exception("not in the audit: %s %s by %s was %s", *self._words(), result)

    def _words(self) -> tuple[str, str, str]:
        return self._record.method, self._record.target, self._record.who


class ChangePermission:
    """The dependency of a route that changes something: decides whether it may, and begins the change.

    :param permission: ``family.action``.
    :param key_required: a request without ``Idempotency-Key`` is refused.
    """

    def __init__(self, permission: str, *, key_required: bool) -> None:
        self.permission = check_name(permission)
        self.key_required = key_required

    async def __call__(
        self, request: Request, _reads: Annotated[None, MAY_SEE_PLUGINS], user: Annotated[Any, Depends(get_user)]
    ) -> None:
        """Begin the change.

        :raises HTTPException: 400, 403, 409, 422 or 503.
        """
        check_origin(request)
        check_csrf(request)
        database: ChangeDatabase = request.app.state.shell.changes
        role = (await database.permissions()).least_role(self.permission)
        if not await _has_role(user, role):
            raise HTTPException(403, f"the permission {self.permission} is needed: the role {role.name.lower()} has it")
        route = request.scope["route"].path
        record = AuditRecord(
            who=str(user.get_id()),
            role=", ".join(sorted(role_names(user))) or role.name.lower(),
            method=request.method,
            route=route,
            target=request.scope["path"],
            request_id=_request_id(request),
        )
        key = await key_of(request, who=record.who, route=f"{request.method} {route}")
        if key is None and self.key_required:
            raise HTTPException(400, f"{HEADER} is missing: a change like this one must not be made twice by a repeat")
        change = Change(database, await database.acquire(), user, record, key)
        # Known to the route's class from now on, which gives the connection back.
        request.state.change = change
        try:
            await change.begin()
        except FAILURES as error:
            raise unavailable(error) from error


def changing(permission: str, *, key_required: bool = False) -> Dependency:
    """Return what a route that changes something has in its ``dependencies``; its router has ``ChangeRoute``.

    :param permission: ``family.action``, which ``maxy_permissions`` gives to a role.
    :param key_required: a request without ``Idempotency-Key`` is refused.
    :raises ValueError: the permission's name is wrong.
    """
    dependency: Dependency = Depends(ChangePermission(permission, key_required=key_required))
    return dependency


def _current(request: Request) -> Change:
    change: Change = request.state.change
    return change


#: The change that a route's handler works in, and what it has of the request's user.
CurrentChange = Annotated[Change, Depends(_current)]


async def _has_role(user: Any, role: Role) -> bool:
    # An auth manager may ask a database or a server of its own.
    return await run_in_threadpool(has_role, get_auth_manager(), user, role)


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
