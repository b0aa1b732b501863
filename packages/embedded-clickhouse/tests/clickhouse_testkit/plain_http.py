"""Plain HTTP to a server, without any ClickHouse client."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedded_clickhouse.testing import Server

_TIMEOUT_SECONDS = 30.0
#: Fails behind its first rows; of data that does not shrink, so that it is late in a compressed reply as well.
FAILS_LATE = (
    "SELECT sipHash64(number), throwIf(number = 500000) FROM numbers(1000000)"
    " SETTINGS max_threads = 1, max_block_size = 65536"
)


@dataclass(frozen=True)
class Reply:
    """An HTTP reply, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def summary(self) -> dict[str, int]:
        return {name: int(value) for name, value in json.loads(self.headers["x-clickhouse-summary"]).items()}


def basic(user: str, password: str) -> dict[str, str]:
    """The header of Basic authorization."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@dataclass(frozen=True)
class Http:
    """Plain HTTP to one server, authorised as its user unless the headers say otherwise."""

    server: Server

    def request(
        self,
        method: str = "POST",
        path: str = "/",
        body: bytes | str = b"",
        *,
        headers: Mapping[str, str] | None = None,
        **params: str,
    ) -> Reply:
        sent = basic(self.server.user, self.server.password) if headers is None else dict(headers)
        connection = http.client.HTTPConnection(self.server.host, self.server.http_port, timeout=_TIMEOUT_SECONDS)
        try:
            url = path + ("?" + urlencode(params, errors="surrogateescape") if params else "")
            connection.request(method, url, body.encode() if isinstance(body, str) else body, sent)
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, received, response.read())
        finally:
            connection.close()

    def post(self, sql: bytes | str, *, headers: Mapping[str, str] | None = None, **params: str) -> Reply:
        """Send a statement in the body."""
        own = basic(self.server.user, self.server.password)
        return self.request(body=sql, headers={**own, **(headers or {})}, database=self.server.database, **params)

    def ask(self, sql: str, **params: str) -> str:
        """The result of a statement that succeeds, as tab-separated text."""
        reply = self.post(sql, **params)
        assert reply.status == 200, reply.text
        return reply.text.removesuffix("\n")
