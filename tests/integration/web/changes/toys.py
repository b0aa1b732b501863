"""A family's routes that change something, as any family would write them: toys, which belong to people."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from maxy.migrations import PostgresMigrations
from maxy.postgres.address import PostgresAddress
from maxy.postgres.connect import connect
from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.changes import csrf
from maxy.web.changes.change import CurrentChange, changing
from maxy.web.changes.database import ChangeDatabase
from maxy.web.changes.owner import owned_by
from maxy.web.changes.permissions import Permissions
from maxy.web.changes.route import ChangeRoute
from tests.ui_support import browsing

router = APIRouter(prefix="/api/toys", route_class=ChangeRoute)


class Price(BaseModel):
    price: int = Field(ge=0)


async def owner_of_toy(toy: int, change: CurrentChange) -> str | None:
    owner: str | None = await change.connection.fetchval("SELECT owner FROM toys WHERE id = $1 FOR UPDATE", toy)
    return owner


@router.get("", dependencies=[MAY_SEE_PLUGINS])
async def toys() -> list[str]:
    return ["ball"]


@router.post("/{toy}/price", dependencies=[changing("toys.price")])
async def set_price(toy: int, wanted: Price, change: CurrentChange) -> dict[str, int]:
    change.describe(target=f"toy {toy}", price=wanted.price, password="a secret word")
    # So that a change which is made twice shows.
    row = "UPDATE toys SET price = $2, changes = changes + 1 WHERE id = $1 RETURNING changes"
    changes = await change.connection.fetchval(row, toy, wanted.price)
    if changes is None:
        raise HTTPException(404, f"there is no toy {toy}")
    if wanted.price == 13:
        raise HTTPException(409, "nobody buys for 13")
    if wanted.price == 500:
        raise LookupError("a defect")
    return {"toy": toy, "changes": changes}


@router.delete(
    "/{toy}", dependencies=[changing("toys.remove", key_required=True), owned_by(owner_of_toy)], status_code=204
)
async def remove(toy: int, change: CurrentChange) -> None:
    await change.connection.execute("DELETE FROM toys WHERE id = $1", toy)


@router.post("/slow", dependencies=[changing("toys.price")])
async def slow(request: Request, change: CurrentChange) -> dict[str, bool]:
    request.app.state.shop.waiting.set()
    await request.app.state.shop.go_on.wait()
    return {"done": True}


@router.post("/stream", dependencies=[changing("toys.price")])
async def stream(change: CurrentChange) -> StreamingResponse:
    await change.connection.execute("UPDATE toys SET price = 77")
    return StreamingResponse(iter([b"a", b"b"]))


@router.post("/broken", dependencies=[changing("toys.price")])
async def broken(change: CurrentChange) -> None:
    await change.connection.execute("UPDATE toys SET price = 78")
    # Looked at when the transaction ends.
    await change.connection.execute("INSERT INTO toys (id, owner, twin) VALUES (99, 'nobody', 98)")


@router.post("/lost", dependencies=[changing("toys.price")])
async def lost(change: CurrentChange) -> None:
    await change.connection.execute("UPDATE toys SET price = 79")
    await change.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@router.post("/told/{name:path}", dependencies=[changing("toys.price")])
async def told(name: str, words: dict[str, Any], change: CurrentChange) -> None:
    change.describe(**words, ratio=float("nan"), several={"a": {"token": "secret", "of": [1]}})


class Shop:
    """The routes on a database of their own.

    :param address: of the database.
    """

    #: Of the route that takes long: it has begun, and it may end.
    waiting: asyncio.Event
    go_on: asyncio.Event

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self.permissions: Permissions | Exception = Permissions()

    def empty(self) -> None:
        """Put three toys into it, and nothing else."""
        PostgresMigrations().apply(self.address)
        with connect(self.address) as connection:
            connection.execute("DROP TABLE IF EXISTS toys")
            connection.execute("TRUNCATE web_audit, web_idempotency")
            connection.execute(
                "CREATE TABLE toys (id int PRIMARY KEY, owner text, price int DEFAULT 0, changes int DEFAULT 0,"
                " twin int REFERENCES toys DEFERRABLE INITIALLY DEFERRED)"
            )
            connection.execute("INSERT INTO toys (id, owner) VALUES (1, 'somebody'), (2, 'another'), (3, 'another')")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with connect(self.address) as connection:
            return connection.execute(query.encode()).fetchall()

    def prices(self) -> dict[int, int]:
        return dict(self.rows("SELECT id, price FROM toys"))

    def audit(self) -> list[tuple[Any, ...]]:
        """Who did what, with which result."""
        return self.rows("SELECT who, method || ' ' || route, target, result, status FROM web_audit ORDER BY id")

    @asynccontextmanager
    async def open(self, headers: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
        async def find() -> PostgresAddress:
            return self.address

        def read() -> Permissions:
            if isinstance(self.permissions, Exception):
                raise self.permissions
            return self.permissions

        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()
        app = FastAPI()
        app.state.shop = self
        database = ChangeDatabase(find_address=find, read_permissions=read)
        app.state.shell = SimpleNamespace(changes=database)
        app.include_router(csrf.router)
        app.include_router(router)
        try:
            async with browsing(app, headers) as client:
                yield client
            assert database._pool is None or database._pool.get_idle_size() == database._pool.get_size()
        finally:
            await database.close()

    def ask(
        self, headers: dict[str, str], path: str = "api/toys/1/price", *, method: str = "POST", body: Any = None
    ) -> httpx.Response:
        """Ask once."""

        async def asking() -> httpx.Response:
            async with self.open(headers) as client:
                content = json.dumps({"price": 5} if body is None else body)
                return await client.request(method, path, content=content, headers={"Content-Type": "application/json"})

        return asyncio.run(asking())
