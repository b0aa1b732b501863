"""Audit records and repeats: all in the change's own transaction, on a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from maxy.postgres.connect import connect
from tests.integration.web.changes.toys import Shop

if TYPE_CHECKING:
    import httpx

    from tests.ui_support import Login

PRICE = "POST /api/toys/{toy}/price"


def keyed(login: Login, key: str = "k1", role: str = "op") -> dict[str, str]:
    return login.headers(role) | {"Idempotency-Key": key}


def test_a_change_and_its_audit_record_are_there_together(shop: Shop, login: Login) -> None:
    answer = shop.ask(login.headers("op") | {"X-Request-ID": "abc-1"})
    assert (answer.status_code, answer.json()) == (200, {"toy": 1, "changes": 1})
    assert shop.audit() == [("somebody", PRICE, "toy 1", "done", 200)]
    ((role, request_id, details, age),) = shop.rows(
        "SELECT role, request_id, details, extract(epoch FROM now() - at) FROM web_audit"
    )
    assert (role, request_id) == ("op", "abc-1")
    assert details == {"price": 5, "password": "***"}
    assert 0 <= age < 60


@pytest.mark.parametrize("request_id", ["", "two words", "x" * 101, "a\tb"])
def test_a_request_without_a_usable_id_gets_one(shop: Shop, login: Login, request_id: str) -> None:
    shop.ask(login.headers("op") | {"X-Request-ID": request_id})
    ((found,),) = shop.rows("SELECT request_id FROM web_audit")
    assert len(found) == 32


@pytest.mark.parametrize(
    ("path", "body", "status", "result"),
    [
        ("api/toys/1/price", {"price": 13}, 409, "refused"),
        ("api/toys/9/price", {"price": 1}, 404, "refused"),
        ("api/toys/1/price", {"price": -1}, 422, "refused"),
        ("api/toys/1/price", {"price": 500}, 500, "failed"),
        ("api/toys/stream", {}, 500, "failed"),
        ("api/toys/broken", {}, 500, "failed"),
        ("api/toys/lost", {}, 503, "failed"),
    ],
)
def test_what_does_not_end_well_changes_nothing_and_is_recorded(
    shop: Shop, login: Login, path: str, body: Any, status: int, result: str
) -> None:
    assert shop.ask(keyed(login), path, body=body).status_code == status
    assert shop.prices() == {1: 0, 2: 0, 3: 0}
    assert [row[3:] for row in shop.audit()] == [(result, status)]
    assert shop.rows("SELECT key FROM web_idempotency") == []
    # So the same key may be tried again.
    assert shop.ask(keyed(login)).status_code == 200


def test_a_server_that_is_not_there_changes_nothing(shop: Shop, login: Login) -> None:
    answer = Shop(replace(shop.address, host="127.0.0.1", port=1)).ask(login.headers("op"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"detail": "PostgreSQL cannot be asked, so nothing was changed"}


def test_a_database_without_the_tables_changes_nothing(shop: Shop, login: Login) -> None:
    with connect(shop.address) as connection:
        connection.execute("ALTER TABLE web_audit RENAME TO gone")
    try:
        assert shop.ask(login.headers("op")).status_code == 503
        assert shop.prices()[1] == 0
    finally:
        with connect(shop.address) as connection:
            connection.execute("ALTER TABLE gone RENAME TO web_audit")


def test_a_repeat_gets_the_first_answer_and_changes_nothing(shop: Shop, login: Login) -> None:
    first, again = shop.ask(keyed(login)), shop.ask(keyed(login))
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, b'{"toy":1,"changes":1}')
    assert first.headers["content-type"] == again.headers["content-type"]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert len(shop.audit()) == 1
    assert shop.ask(login.headers("op")).json()["changes"] == 2


def test_a_repeat_of_an_answer_without_a_body(shop: Shop, login: Login) -> None:
    headers = keyed(login)
    for _ in range(2):
        answer = shop.ask(headers, "api/toys/1", method="DELETE")
        assert (answer.status_code, answer.content) == (204, b"")
    assert len(shop.audit()) == 1


@pytest.mark.parametrize(
    ("path", "price"), [("api/toys/1/price", 6), ("api/toys/2/price", 5), ("api/toys/1/price?x=1", 5)]
)
def test_a_key_that_came_with_another_request_is_refused(shop: Shop, login: Login, path: str, price: int) -> None:
    shop.ask(keyed(login))
    assert shop.ask(keyed(login), path, body={"price": price}).status_code == 422
    assert shop.prices() == {1: 5, 2: 0, 3: 0}


def test_keys_belong_to_a_user_and_a_route(shop: Shop, login: Login) -> None:
    shop.ask(keyed(login))
    assert shop.ask(keyed(login), "api/toys/1", method="DELETE").status_code == 204
    assert shop.ask(keyed(login, "k2")).status_code == 404
    assert len(shop.rows("SELECT 1 FROM web_idempotency")) == 2
    with connect(shop.address) as connection:
        connection.execute("UPDATE web_idempotency SET who = 'another'")
    assert shop.ask(keyed(login)).status_code == 404


def test_a_repeat_is_answered_to_nobody_who_may_not_ask(shop: Shop, login: Login) -> None:
    shop.ask(keyed(login))
    assert shop.ask(keyed(login, role="viewer")).status_code == 403


def test_an_answer_is_forgotten_after_a_day(shop: Shop, login: Login) -> None:
    shop.ask(keyed(login))
    ((hours,),) = shop.rows("SELECT extract(epoch FROM expires_at - created_at) / 3600 FROM web_idempotency")
    assert hours == 24
    with connect(shop.address) as connection:
        connection.execute("UPDATE web_idempotency SET expires_at = now() - interval '1 second'")
        connection.execute(
            "INSERT INTO web_idempotency (who, route, key, fingerprint, status, media_type, body, expires_at)"
            " SELECT 'old', 'old', n::text, '', 200, '', '', now() - interval '1 hour' FROM generate_series(1, 30) n"
        )
    assert shop.ask(keyed(login), body={"price": 6}).json()["changes"] == 2
    # Expired ones go in passing, some at a time.
    assert len(shop.rows("SELECT 1 FROM web_idempotency WHERE who = 'old'")) == 10


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\there"])
def test_a_key_that_is_none_is_refused(shop: Shop, login: Login, key: str) -> None:
    assert shop.ask(keyed(login, key)).status_code == 400


def test_a_route_may_ask_for_a_key(shop: Shop, login: Login) -> None:
    answer = shop.ask(login.headers("op"), "api/toys/1", method="DELETE")
    assert (answer.status_code, "Idempotency-Key" in answer.json()["detail"]) == (400, True)
    assert 1 in shop.prices()


def test_a_repeat_while_the_first_is_under_way_is_told_so(shop: Shop, login: Login) -> None:
    async def both() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        async with shop.open(keyed(login)) as client:
            first = asyncio.ensure_future(client.post("api/toys/slow"))
            await shop.waiting.wait()
            meanwhile = await client.post("api/toys/slow")
            shop.go_on.set()
            return await first, meanwhile, await client.post("api/toys/slow")

    first, meanwhile, afterwards = asyncio.run(both())
    assert (first.status_code, meanwhile.status_code, afterwards.status_code) == (200, 409, 200)
    assert meanwhile.headers["retry-after"] == "1"
    assert afterwards.json() == first.json() == {"done": True}
    assert [row[3:] for row in shop.audit()] == [("refused", 409), ("done", 200)]


def test_repeats_at_once_change_something_once(shop: Shop, login: Login) -> None:
    async def many() -> list[int]:
        async with shop.open(keyed(login)) as client:
            answers = await asyncio.gather(*(client.post("api/toys/1/price", json={"price": 5}) for _ in range(30)))
            return [answer.status_code for answer in answers]

    statuses = asyncio.run(many())
    assert set(statuses) <= {200, 409}
    assert shop.rows("SELECT changes FROM toys WHERE id = 1") == [(1,)]
    assert len([row for row in shop.audit() if row[3] == "done"]) == 1


def test_a_caller_who_leaves_takes_the_change_along(shop: Shop, login: Login) -> None:
    async def leave() -> None:
        async with shop.open(keyed(login)) as client:
            first = asyncio.ensure_future(client.post("api/toys/slow"))
            await shop.waiting.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            shop.go_on.set()
            # The key is free again, and so is the connection.
            assert (await client.post("api/toys/slow")).status_code == 200

    asyncio.run(leave())
    assert [row[3:] for row in shop.audit()] == [("done", 200)]


def test_reading_on_the_same_router_needs_no_database(shop: Shop, login: Login) -> None:
    away = Shop(replace(shop.address, host="127.0.0.1", port=1))
    assert away.ask(login.headers("viewer"), "api/toys", method="GET").json() == ["ball"]


def test_whatever_a_caller_sends_can_be_recorded(shop: Shop, login: Login) -> None:
    words = {"nul": "a\0b", "half": "\ud800", "whole": "\U0001f389 앱", "na\0me": 1}
    answer = shop.ask(login.headers("op"), "api/toys/told/x%00y%ff", body=words)
    assert answer.status_code == 200
    ((target, details),) = shop.rows("SELECT target, details FROM web_audit")
    assert target == "/maxy/api/toys/told/x�y�"
    assert details == {
        "nul": "a�b", "half": "?", "whole": "\U0001f389 앱", "na�me": 1, "ratio": "nan",
        "several": {"a": {"token": "***", "of": [1]}},
    }  # fmt: skip
