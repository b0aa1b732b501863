"""Which server the suite talks to, and three clients that say the same things to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlencode, urlsplit

import clickhouse_connect
import clickhouse_driver
from clickhouse_connect.driver.exceptions import Error as ConnectError
from clickhouse_driver.errors import ServerException

from clickhouse_testkit.plain_http import basic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedded_clickhouse.testing import Server

HTTP_VARIABLE = "CONFORMANCE_CLICKHOUSE_URL"
NATIVE_VARIABLE = "CONFORMANCE_CLICKHOUSE_NATIVE"
TIMEOUT_SECONDS = 60.0
_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_BYTES = {"String": "bytes", "FixedString": "bytes"}


class Failure(Exception):
    """What a server says no with, the same for every client.

    :param code: ClickHouse's error code.
    :param text: the server's words.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Target:
    """A server and an account on it that may make databases.

    :param host: the host of the HTTP interface.
    :param http_port: its port.
    :param native_host: the host of the native interface.
    :param native_port: its port.
    :param user: the account's name.
    :param password: its password.
    :param database: the database that names without one mean.
    """

    host: str
    http_port: int
    native_host: str
    native_port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def of_server(cls, server: Server) -> Target:
        """The embedded server."""
        return cls(
            server.host,
            server.http_port,
            server.host,
            server.tcp_port,
            server.user,
            server.password,
            server.database,
        )

    @classmethod
    def of_addresses(cls, url: str, native: str) -> Target:
        """A server elsewhere.

        :param url: ``http://user:password@host:8123``; the user is ``default`` when none is named.
        :param native: ``host:9000``.
        :raises ValueError: an address without host or port; the message does not repeat the password.
        """
        http_address, native_address = urlsplit(url), urlsplit(f"tcp://{native}")
        if http_address.scheme != "http" or not http_address.hostname:
            raise ValueError(f"{HTTP_VARIABLE} must look like http://user:password@host:8123")
        if not native_address.hostname:
            raise ValueError(f"{NATIVE_VARIABLE} must look like host:9000, not {native!r}")
        return cls(
            http_address.hostname,
            http_address.port or 8123,
            native_address.hostname,
            native_address.port or 9000,
            unquote(http_address.username or "default"),
            unquote(http_address.password or ""),
            "default",
        )

    def with_database(self, database: str) -> Target:
        """The same with another database."""
        return replace(self, database=database)

    def with_account(self, user: str, password: str) -> Target:
        """The same with another account."""
        return replace(self, user=user, password=password)


class Client(Protocol):
    """One connection (or session) to a server; another statement may follow a failed one."""

    name: str

    def rows(self, sql: str, settings: Mapping[str, Any] | None = None, query_id: str | None = None) -> list[Any]:
        """The result of a statement, whose rows are compared after ``list``.

        :raises Failure: the server refuses it or fails in the middle of it.
        """

    def read(self, sql: str) -> tuple[list[str], list[Any]]:
        """The types and rows of a result that has rows."""

    def insert(self, table: str, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Store rows through the client's own way of inserting.

        :raises Failure: the server refuses them.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class Reply:
    """An HTTP reply, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode(errors="surrogateescape")

    @property
    def code(self) -> int | None:
        """The code of the error, wherever in the reply it stands; None for success."""
        if header := self.headers.get("x-clickhouse-exception-code"):
            return int(header)
        if self.status == 200 and b"DB::Exception: " not in self.body[-4000:]:
            return None
        found = _CODE.findall(self.text[-4000:])
        return int(found[-1]) if found else -1


class PlainHttp:
    """HTTP by the standard library: each request on a connection of its own, without a session unless it names one.

    :param target: the server.
    """

    name = "plain"

    def __init__(self, target: Target) -> None:
        self.target = target

    def request(
        self,
        method: str,
        body: bytes | str = b"",
        *,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> Reply:
        """Send a request as it is, with the account unless ``headers`` say who it is."""
        sent = basic(self.target.user, self.target.password) if headers is None else dict(headers)
        url = path + ("?" + urlencode(params, errors="surrogateescape") if params else "")
        with contextlib.closing(self.open()) as connection:
            connection.request(method, url, body.encode() if isinstance(body, str) else body, sent)
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, received, response.read())

    def open(self) -> http.client.HTTPConnection:
        """A connection for a test that wants to do other things with it."""
        return http.client.HTTPConnection(self.target.host, self.target.http_port, timeout=TIMEOUT_SECONDS)

    def post(self, sql: bytes | str, *, headers: Mapping[str, str] | None = None, **params: Any) -> Reply:
        """Send a statement in the body, for the suite's database."""
        own = basic(self.target.user, self.target.password)
        return self.request(
            "POST", sql, headers={**own, **(headers or {})}, **{"database": self.target.database, **params}
        )

    def data(self, sql: str, body: bytes | str, *, headers: Mapping[str, str] | None = None, **params: Any) -> Reply:
        """Send an insert in the URL and its data in the body."""
        return self.post(body, headers=headers, query=sql, **params)

    def ask(self, sql: bytes | str, **params: Any) -> str:
        """The text of a statement's result.

        :raises Failure: as :meth:`Client.rows`.
        """
        return _checked(self.post(sql, **params)).text.removesuffix("\n")

    def body(self, sql: str, fmt: str, **params: Any) -> bytes:
        """The result in a format."""
        return _checked(self.post(f"{sql} FORMAT {fmt}", **params)).body

    def rows(self, sql: str, settings: Mapping[str, Any] | None = None, query_id: str | None = None) -> list[Any]:
        """See :class:`Client`."""
        named = {"query_id": query_id} if query_id else {}
        text = {"output_format_json_quote_64bit_integers": "0", "default_format": "JSONCompactEachRow"}
        reply = _checked(self.post(sql, **text, **named, **(settings or {})))
        return [json.loads(line) for line in reply.body.splitlines()]

    def read(self, sql: str) -> tuple[list[str], list[Any]]:
        """See :class:`Client`."""
        result = json.loads(_checked(self.post(sql, default_format="JSONCompact")).body)
        return [column["type"] for column in result["meta"]], result["data"]

    def insert(self, table: str, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See :class:`Client`. The rows are written as JSON."""
        data = "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
        _checked(self.data(f"INSERT INTO {table} ({', '.join(columns)}) FORMAT JSONEachRow", data))

    def close(self) -> None:
        """See :class:`Client`. Nothing is open between requests."""


class ConnectClient:
    """HTTP by clickhouse_connect.

    :param target: the server.
    """

    name = "connect"

    def __init__(self, target: Target) -> None:
        with _Failures():
            self.client = clickhouse_connect.get_client(
                host=target.host,
                port=target.http_port,
                username=target.user,
                password=target.password,
                database=target.database,
                tz_mode="aware",
            )

    def rows(self, sql: str, settings: Mapping[str, Any] | None = None, query_id: str | None = None) -> list[Any]:
        """See :class:`Client`."""
        own = {**(settings or {}), **({"query_id": query_id} if query_id else {})}
        with _Failures():
            return list(self.client.query(sql, settings=own, query_formats=_BYTES).result_rows)

    def read(self, sql: str) -> tuple[list[str], list[Any]]:
        """See :class:`Client`."""
        with _Failures():
            result = self.client.query(sql, query_formats=_BYTES)
        # It quotes the names of a tuple's elements, as the server does not.
        return [column.name.replace("`", "") for column in result.column_types], list(result.result_rows)

    def insert(self, table: str, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See :class:`Client`."""
        with _Failures():
            self.client.insert(table, rows, column_names=columns, column_type_names=types)

    def close(self) -> None:
        self.client.close()


class NativeClient:
    """The native protocol by clickhouse_driver.

    :param target: the server.
    :param options: of ``clickhouse_driver.Client``.
    """

    name = "native"

    def __init__(self, target: Target, **options: Any) -> None:
        self.client = clickhouse_driver.Client(
            target.native_host,
            target.native_port,
            user=target.user,
            password=target.password,
            database=target.database,
            settings={"strings_as_bytes": True},
            send_receive_timeout=TIMEOUT_SECONDS,
            **options,
        )

    def rows(self, sql: str, settings: Mapping[str, Any] | None = None, query_id: str | None = None) -> list[Any]:
        """See :class:`Client`."""
        with _Failures():
            return list(self.client.execute(sql, settings=dict(settings or {}), query_id=query_id))

    def read(self, sql: str) -> tuple[list[str], list[Any]]:
        """See :class:`Client`."""
        with _Failures():
            rows, columns = self.client.execute(sql, with_column_types=True)
        return [name for _, name in columns], rows

    def insert(self, table: str, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See :class:`Client`. The driver asks the server for the types."""
        with _Failures():
            self.client.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES", list(rows))

    def close(self) -> None:
        self.client.disconnect()


CLIENTS: dict[str, type[PlainHttp | ConnectClient | NativeClient]] = {
    client.name: client for client in (PlainHttp, ConnectClient, NativeClient)
}


class _Failures:
    """Turns the clients' exceptions for what the server says into :class:`Failure`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ServerException):
            raise Failure(error.code, str(error)) from error
        if isinstance(error, ConnectError):
            if error.code is None:
                raise AssertionError(f"clickhouse_connect found no code in: {error}") from error
            raise Failure(error.code, str(error)) from error


def _checked(reply: Reply) -> Reply:
    if reply.code is not None:
        raise Failure(reply.code, reply.text[-4000:])
    return reply
