"""Clients of both protocols with one face, below the comfort of drivers: an insert can be left in its middle."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import uuid
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from clickhouse_driver import Client as Driver
from clickhouse_driver.block import RowOrientedBlock
from clickhouse_driver.errors import NetworkError, ServerException, SocketTimeoutError
from clickhouse_driver.protocol import ServerPacketTypes
from clickhouse_driver.result import QueryInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from embedded_clickhouse.testing import Server

    Row = Sequence[int | str]

# Longer than anything that is asked for takes: a statement that takes longer is stuck.
_STUCK_SECONDS = 60.0
_OK = 200


class Refused(Exception):
    """The server answered with an error.

    :param code: ClickHouse's error code.
    :param message: its text.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"code {code}: {message[:300]}")
        self.code = code


class Lost(Exception):
    """The connection broke before the answer."""


class Insert(Protocol):
    """An insert that was begun."""

    def send(self, rows: Sequence[Row]) -> None:
        """Send one block.

        :raises Lost: the connection broke.
        """

    def end(self) -> None:
        """Say that it is complete, and return once the server has acknowledged it.

        :raises Refused: the server did not take it.
        :raises Lost: it is not known whether it did.
        """

    def abandon(self) -> None:
        """Leave it where it is, with the connection."""


class Reading(Protocol):
    """A statement whose answer was not read yet."""

    def first(self) -> None:
        """Wait for the first piece of the answer."""

    def rest(self) -> None:
        """Read to the end.

        :raises Refused: the statement failed.
        :raises Lost: the connection broke.
        """


class Client(Protocol):
    """One connection. After `Lost` it connects anew with the next statement."""

    def rows(self, sql: str, *, query_id: str | None = None) -> list[list[Any]]:
        """The result of a statement.

        :raises Refused: the server's error.
        :raises Lost: the connection broke.
        """

    def begin(self, table: str, *, query_id: str | None = None) -> Insert:
        """Begin an insert of all columns.

        :raises Refused: the server's error.
        :raises Lost: the connection broke.
        """

    def start(self, sql: str, *, query_id: str) -> Reading:
        """Send a statement without reading its answer."""

    def close(self) -> None:
        """Close the connection, whatever is under way on it."""


@contextlib.contextmanager
def _losses(client: Client) -> Iterator[None]:
    """Close a client whose connection broke, and say so."""
    try:
        yield
    except (OSError, EOFError, NetworkError, SocketTimeoutError, http.client.HTTPException) as error:
        client.close()
        raise Lost(f"{type(error).__name__}: {error}") from error


class HttpClient:
    """Over HTTP, with a kept connection.

    :param server: where to.
    :param settings: parameters of each request, such as a session's.
    """

    def __init__(self, server: Server, settings: Mapping[str, str] | None = None) -> None:
        self._headers = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}
        self._parameters = {"database": server.database, **(settings or {})}
        self.connection = http.client.HTTPConnection(server.host, server.http_port, timeout=_STUCK_SECONDS)

    def rows(self, sql: str, *, query_id: str | None = None) -> list[list[Any]]:
        """See `Client`."""
        reading = self.start(sql, query_id=query_id or str(uuid.uuid4()))
        return [json.loads(line) for line in reading.body().splitlines()]

    def start(self, sql: str, *, query_id: str) -> _HttpReading:
        """See `Client`."""
        url = self._url(
            query_id=query_id, default_format="JSONCompactEachRow", output_format_json_quote_64bit_integers="0"
        )
        self._renew()
        with _losses(self):
            self.connection.request("POST", url, sql.encode(), self._headers)
        return _HttpReading(self)

    def begin(self, table: str, *, query_id: str | None = None) -> _HttpInsert:
        """See `Client`."""
        url = self._url(query=f"INSERT INTO {table} FORMAT TabSeparated", query_id=query_id or str(uuid.uuid4()))
        self._renew()
        with _losses(self):
            self.connection.putrequest("POST", url)
            for name, value in {**self._headers, "Transfer-Encoding": "chunked"}.items():
                self.connection.putheader(name, value)
            self.connection.endheaders()
        return _HttpInsert(self)

    def close(self) -> None:
        """See `Client`."""
        self.connection.close()

    def answer(self) -> http.client.HTTPResponse:
        """The head of the answer.

        :raises Refused: it is an error.
        """
        with _losses(self):
            response = self.connection.getresponse()
            if response.status == _OK:
                return response
            text = response.read().decode(errors="replace")
        raise Refused(int(response.headers.get("X-ClickHouse-Exception-Code", 0)), f"{response.status} {text}")

    def check(self, response: http.client.HTTPResponse, body: bytes) -> None:
        """Raise the error that came in the middle of a result."""
        tag = response.headers.get("X-ClickHouse-Exception-Tag", "").encode()
        _, mark, error = body.rpartition(b"__exception__\r\n" + tag + b"\r\nCode: ")
        if tag and mark:
            raise Refused(int(error.partition(b".")[0]), error.decode(errors="replace"))

    def _renew(self) -> None:
        """Let go of a kept connection that the server has closed meanwhile: between answers nothing else comes."""
        if self.connection.sock is not None and select.select([self.connection.sock], [], [], 0)[0]:
            self.close()

    def _url(self, **parameters: str) -> str:
        return "/?" + urlencode({**self._parameters, **parameters})


class _HttpReading:
    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._response: http.client.HTTPResponse | None = None

    def first(self) -> None:
        self._response = self._client.answer()
        with _losses(self._client):
            self._response.read(1)

    def rest(self) -> None:
        self.body()

    def body(self) -> bytes:
        response = self._response or self._client.answer()
        with _losses(self._client):
            body = response.read()
        self._client.check(response, body)
        return body


class _HttpInsert:
    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def send(self, rows: Sequence[Row]) -> None:
        data = "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
        with _losses(self._client):
            self._client.connection.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self) -> None:
        with _losses(self._client):
            self._client.connection.send(b"0\r\n\r\n")
        response = self._client.answer()
        with _losses(self._client):
            response.read()

    def abandon(self) -> None:
        self._client.close()


class NativeClient:
    """Over the native protocol.

    :param server: where to.
    :param compression: how blocks travel, as the driver takes it.
    """

    def __init__(self, server: Server, *, compression: str | bool = False) -> None:
        self._driver = Driver(
            server.host,
            server.tcp_port,
            user=server.user,
            password=server.password,
            database=server.database,
            compression=compression,
            send_receive_timeout=_STUCK_SECONDS,
            sync_request_timeout=_STUCK_SECONDS,
        )

    def rows(self, sql: str, *, query_id: str | None = None) -> list[list[Any]]:
        """See `Client`."""
        reading = self.start(sql, query_id=query_id or str(uuid.uuid4()))
        return [list(row) for row in reading.all_rows()]

    def start(self, sql: str, *, query_id: str) -> _NativeReading:
        """See `Client`."""
        self._query(sql, query_id)
        return _NativeReading(self)

    def begin(self, table: str, *, query_id: str | None = None) -> _NativeInsert:
        """See `Client`."""
        self._query(f"INSERT INTO {table} VALUES", query_id or str(uuid.uuid4()))
        return _NativeInsert(self, self.packet().block.columns_with_types)

    def close(self) -> None:
        """See `Client`."""
        self._driver.disconnect()

    def packet(self) -> Any:
        """The next packet.

        :raises Refused: it is an error.
        """
        with _losses(self):
            packet = self._driver.connection.receive_packet()
        if packet.type == ServerPacketTypes.EXCEPTION:
            raise Refused(packet.exception.code, str(packet.exception))
        return packet

    def packets(self) -> Iterator[Any]:
        """The packets up to the end of the answer."""
        while (packet := self.packet()).type != ServerPacketTypes.END_OF_STREAM:
            yield packet

    def send(self, block: RowOrientedBlock) -> None:
        """Send a data packet."""
        with _losses(self):
            self._driver.connection.send_data(block)

    def _query(self, sql: str, query_id: str) -> None:
        with _losses(self):
            # The driver takes an error for the end of a connection; below it the connection is kept.
            self._driver.connection.is_query_executing = False
            try:
                self._driver.establish_connection({})
            except ServerException as error:
                raise Refused(error.code, str(error)) from error
            self._driver.last_query = QueryInfo()
            self._driver.connection.send_query(sql, query_id=query_id)
            self._driver.connection.send_external_tables(None)


class _NativeReading:
    def __init__(self, client: NativeClient) -> None:
        self._client = client

    def first(self) -> None:
        self._client.packet()

    def rest(self) -> None:
        for _ in self._client.packets():
            pass

    def all_rows(self) -> Iterator[tuple[Any, ...]]:
        for packet in self._client.packets():
            if packet.type == ServerPacketTypes.DATA:
                yield from packet.block.get_rows()


class _NativeInsert:
    def __init__(self, client: NativeClient, columns: list[tuple[str, str]]) -> None:
        self._client = client
        self._columns = columns

    def send(self, rows: Sequence[Row]) -> None:
        self._client.send(RowOrientedBlock(self._columns, [tuple(row) for row in rows]))

    def end(self) -> None:
        self._client.send(RowOrientedBlock())
        for _ in self._client.packets():
            pass

    def abandon(self) -> None:
        self._client.close()
