"""Who a client is, and who may have an account without a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clickhouse_testkit.plain_http import basic
from embedded_clickhouse.config import Credentials
from embedded_clickhouse.http.request import Request
from embedded_clickhouse.server import ServerOptions


def _request(headers: dict[str, str] | None = None, query: str = "") -> Request:
    scope: dict[str, Any] = {
        "method": "POST",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "query_string": query.encode(),
    }
    return Request.parse(scope)


@pytest.mark.parametrize(
    ("headers", "query", "account"),
    [
        ({}, "", None),
        ({}, "database=x", None),
        ({"X-ClickHouse-User": "u", "X-ClickHouse-Key": "p"}, "user=v&password=q", ("u", "p")),
        ({"X-ClickHouse-User": "u"}, "", ("u", "")),
        ({"X-ClickHouse-Key": "p"}, "", ("default", "p")),
        ({"X-ClickHouse-User": ""}, "", None),
        (basic("u", "p:q"), "user=v", ("u", "p:q")),
        (basic("u", ""), "", ("u", "")),
        ({}, "user=v", ("v", "")),
        ({}, "password=q", ("default", "q")),
        ({}, "user=&password=", ("default", "")),
    ],
)
def test_an_account_is_taken_from_wherever_it_stands(
    headers: dict[str, str], query: str, account: tuple[str, str] | None
) -> None:
    assert _request(headers, query).account == account


@pytest.mark.parametrize(
    ("origin", "is_other"),
    [
        (None, False),
        ("http://localhost:3000", False),
        ("http://127.0.0.1:8123", False),
        ("https://127.1.2.3", False),
        ("http://[::1]:80", False),
        ("http://example.com", True),
        ("http://127.0.0.1.example.com", True),
        ("http://localhost.example.com", True),
        ("http://example.com@127.0.0.1.evil", True),
        ("null", True),
        ("", True),
        ("http://[", True),
        ("127.0.0.1", True),
    ],
)
def test_pages_of_other_sites_are_known_by_their_origin(origin: str | None, is_other: bool) -> None:
    assert _request({} if origin is None else {"Origin": origin}).is_of_other_site is is_other


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1"])
def test_an_account_on_a_loopback_address_needs_no_password(host: str) -> None:
    options = ServerOptions(Path("x"), Credentials("default", ""), "default", host=host)
    assert not options.credentials.needs_password


@pytest.mark.parametrize("host", ["0.0.0.0", "", "10.0.0.1", "::", "example.com", "localhost"])
def test_an_account_without_a_password_is_refused_on_any_other(host: str) -> None:
    with pytest.raises(ValueError, match="'default' has no password"):
        ServerOptions(Path("x"), Credentials("default", ""), "default", host=host)
    assert ServerOptions(Path("x"), Credentials("default", "p"), "default", host=host).credentials.needs_password


def test_an_empty_password_is_not_any_password() -> None:
    credentials = Credentials("default", "")
    assert credentials.check("default", "")
    assert not credentials.check("default", "x")
    assert not credentials.check("", "")
    assert not Credentials("default", "x").check("default", "")
