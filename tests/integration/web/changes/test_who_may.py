"""Logins, roles, CSRF tokens, origins and owners, by routes as a family has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from maxy.web.changes.csrf import make_token
from maxy.web.changes.permissions import Permissions

if TYPE_CHECKING:
    from tests.integration.web.changes.toys import Shop
    from tests.ui_support import Login

OWN = {"Origin": "http://airflow", "Sec-Fetch-Site": "same-origin"}


def by_cookie(token: str, **headers: str) -> dict[str, str]:
    """A page's request in a browser."""
    return {"Cookie": f"_token={token}", "X-CSRF-Token": make_token(token), **OWN, **headers}


@pytest.mark.parametrize(("role", "status"), [(None, 403), ("viewer", 403), ("user", 403), ("op", 200), ("admin", 200)])
@pytest.mark.parametrize("way", ["bearer", "cookie"])
def test_changes_need_an_operator_unless_the_setting_says_otherwise(
    shop: Shop, login: Login, role: str | None, status: int, way: str
) -> None:
    headers = login.headers(role) if way == "bearer" else by_cookie(login.token(role))
    assert shop.ask(headers).status_code == status
    assert shop.prices()[1] == (5 if status == 200 else 0)
    assert len(shop.audit()) == (status == 200)


def test_who_is_not_logged_in_is_refused(shop: Shop, login: Login) -> None:
    for headers in ({}, OWN, login.headers("admin", seconds=-60)):
        assert shop.ask(headers).status_code == 401
    assert shop.prices()[1] == 0


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("", {"op", "admin"}),
        ('{"toys.price": "user"}', {"user", "op", "admin"}),
        ('{"toys.price": "admin"}', {"admin"}),
        ('{"default": "admin"}', {"admin"}),
        ('{"default": "admin", "toys.price": "op"}', {"op", "admin"}),
        ('{"toys.remove": "user"}', {"op", "admin"}),
    ],
)
def test_the_setting_gives_a_permission_to_a_role_and_those_above(
    shop: Shop, login: Login, setting: str, allowed: set[str]
) -> None:
    shop.permissions = Permissions.parse(setting)
    answers = {role: shop.ask(login.headers(role)) for role in ("viewer", "user", "op", "admin")}
    assert {role for role, answer in answers.items() if answer.status_code == 200} == allowed
    assert "toys.price" in answers["viewer"].json()["detail"]


def test_a_wrong_setting_lets_nobody_change_anything(shop: Shop, login: Login) -> None:
    shop.permissions = ValueError("wrong")
    answer = shop.ask(login.headers("admin"))
    assert (answer.status_code, "maxy_permissions" in answer.json()["detail"]) == (503, True)
    assert shop.ask(login.headers("viewer"), "api/toys", method="GET").status_code == 200


def test_a_page_gets_its_logins_token_and_changes_with_it(shop: Shop, login: Login) -> None:
    async def page() -> tuple[int, int]:
        async with shop.open({"Cookie": f"_token={login.token('op')}", **OWN}) as client:
            given = (await client.get("api/csrf")).json()
            without = await client.post("api/toys/1/price", json={"price": 5})
            with_token = await client.post(
                "api/toys/1/price", json={"price": 5}, headers={given["header"]: given["token"]}
            )
            return without.status_code, with_token.status_code

    assert asyncio.run(page()) == (403, 200)


def test_tokens_are_for_who_is_logged_in(shop: Shop, login: Login) -> None:
    assert shop.ask({}, "api/csrf", method="GET").status_code == 401
    assert shop.ask(login.headers(None), "api/csrf", method="GET").status_code == 403
    assert shop.ask(login.headers("op"), "api/csrf", method="GET").json()["token"] is None


@pytest.mark.parametrize("token", ["", "x", "0" * 64])
def test_a_wrong_csrf_token_is_refused(shop: Shop, login: Login, token: str) -> None:
    answer = shop.ask(by_cookie(login.token("admin")) | {"X-CSRF-Token": token})
    assert (answer.status_code, "X-CSRF-Token" in answer.json()["detail"]) == (403, True)
    assert (shop.prices()[1], shop.audit()) == (0, [])


def test_the_token_of_another_login_is_refused(shop: Shop, login: Login) -> None:
    headers = by_cookie(login.token("admin")) | {"X-CSRF-Token": make_token(login.token("viewer"))}
    assert shop.ask(headers).status_code == 403


def test_a_bearer_token_that_is_none_does_not_spare_the_csrf_token(shop: Shop, login: Login) -> None:
    cookie = {"Cookie": f"_token={login.token('admin')}", **OWN}
    for authorization in ("Bearer", "Bearer ", "Basic abc", "bearer"):
        assert shop.ask(cookie | {"Authorization": authorization}).status_code == 403
    assert shop.prices()[1] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://airflow.evil.example"},
        {"Origin": "https://airflow"},
        {"Origin": "http://airflow:8080"},
        {"Origin": "null"},
        {"Origin": "http://airflow:port"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "anything"},
    ],
)
@pytest.mark.parametrize("way", ["bearer", "cookie"])
def test_a_foreign_origin_is_refused(shop: Shop, login: Login, headers: dict[str, str], way: str) -> None:
    whole = login.headers("admin") if way == "bearer" else by_cookie(login.token("admin"))
    assert shop.ask(whole | headers).status_code == 403
    assert (shop.prices()[1], shop.audit()) == (0, [])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://airflow"},
        {"Origin": "http://airflow:80"},
        # As browsers see it, in front of a proxy.
        {"Origin": "https://figures.example:8443"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_an_own_page_is_known_by_either_header(shop: Shop, login: Login, headers: dict[str, str]) -> None:
    whole = {name: text for name, text in by_cookie(login.token("op")).items() if name not in OWN}
    assert shop.ask(whole | headers).status_code == 200


def test_a_browser_that_does_not_say_where_it_comes_from_is_refused(shop: Shop, login: Login) -> None:
    whole = {name: text for name, text in by_cookie(login.token("op")).items() if name not in OWN}
    assert shop.ask(whole).status_code == 403


def remove(shop: Shop, login: Login, role: str, toy: int) -> int:
    return shop.ask(
        login.headers(role) | {"Idempotency-Key": f"{role} {toy}"}, f"api/toys/{toy}", method="DELETE"
    ).status_code


def test_what_belongs_to_somebody_is_changed_by_them_or_an_administrator(shop: Shop, login: Login) -> None:
    assert remove(shop, login, "op", 1) == 204
    assert remove(shop, login, "op", 2) == 403
    assert remove(shop, login, "op", 9) == 404
    assert remove(shop, login, "admin", 2) == 204
    assert list(shop.prices()) == [3]
    assert [row[3:] for row in shop.audit()] == [("done", 204), ("refused", 403), ("refused", 404), ("done", 204)]


def test_whose_a_target_is_is_not_told_to_who_may_not_change_any(shop: Shop, login: Login) -> None:
    for toy in (1, 2, 9):
        assert remove(shop, login, "viewer", toy) == 403
    assert shop.audit() == []
