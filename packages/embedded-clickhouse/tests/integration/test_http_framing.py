"""ClickHouse's own framing of bodies, progress headers, and other corners of the HTTP interface."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from typing import TYPE_CHECKING

import pytest

from clickhouse_testkit.plain_http import FAILS_LATE, Http, basic
from embedded_clickhouse.http.frames import unframe
from embedded_clickhouse.native.compression import Method, compress

if TYPE_CHECKING:
    from embedded_clickhouse.testing import Server

_SLOW = "SELECT sum(sleepEachRow(0.3)) FROM numbers(3) SETTINGS max_block_size = 1"


def framed(data: bytes, method: Method = Method.LZ4) -> bytes:
    return b"".join(compress(data, method))


def unframed(data: bytes) -> bytes:
    return b"".join(unframe(iter([data]), 1 << 30))


class TestFrames:
    @pytest.mark.parametrize("method", list(Method))
    def test_a_body_in_frames_is_read(self, http_client: Http, table: str, method: Method) -> None:
        rows = b"".join(b"%d,x\n" % number for number in range(300_000))
        head = f"INSERT INTO {table} FORMAT CSV\n".encode()
        reply = http_client.post(framed(head + rows, method), decompress="1")
        assert reply.status == 200, reply.text
        assert http_client.ask(f"SELECT count(), sum(a) FROM {table}") == f"300000\t{sum(range(300_000))}"
        assert http_client.post(framed(b"SELECT 1", method), decompress="1").body == b"1\n"

    def test_they_may_be_inside_an_encoding(self, http_client: Http) -> None:
        body = gzip.compress(framed(b"SELECT 5"))
        assert http_client.post(body, headers={"Content-Encoding": "gzip"}, decompress="1").body == b"5\n"

    @pytest.mark.parametrize(("kept", "code"), [(-1, "33"), (30, "33"), (None, "271")])
    def test_damaged_frames_store_nothing(self, http_client: Http, table: str, kept: int | None, code: str) -> None:
        body = framed(f"INSERT INTO {table} FORMAT CSV\n1,a\n".encode())
        damaged = bytes([body[0] ^ 1]) + body[1:] if kept is None else body[:kept]
        reply = http_client.post(damaged, decompress="1")
        assert reply.headers["x-clickhouse-exception-code"] == code
        assert http_client.ask(f"SELECT count() FROM {table}") == "0"

    def test_a_reply_comes_in_frames_when_asked_for(self, http_client: Http) -> None:
        sql = "SELECT number FROM numbers(200000)"
        reply = http_client.post(sql, compress="1")
        assert "content-encoding" not in reply.headers
        assert unframed(reply.body) == http_client.post(sql).body
        both = http_client.post(sql, compress="1", enable_http_compression="1", headers={"Accept-Encoding": "gzip"})
        assert unframed(gzip.decompress(both.body)) == http_client.post(sql).body

    def test_errors_are_framed_like_the_result_they_stand_for(self, http_client: Http) -> None:
        early = http_client.post("SELECT * FROM missing", compress="1")
        assert (early.status, early.headers["x-clickhouse-exception-code"]) == (404, "60")
        assert unframed(early.body).startswith(b"Code: 60.")
        soon = http_client.post(
            "SELECT number, throwIf(number = 50) FROM numbers(100) SETTINGS max_block_size = 5, max_threads = 1",
            compress="1",
            enable_http_compression="1",
            headers={"Accept-Encoding": "gzip"},
        )
        assert (soon.status, soon.headers["x-clickhouse-exception-code"]) == (500, "395")
        assert soon.headers["content-encoding"] == "gzip"
        assert unframed(gzip.decompress(soon.body)).startswith(b"Code: 395.")
        late = http_client.post(FAILS_LATE, compress="1")
        assert late.headers["x-clickhouse-exception-tag"].encode() in unframed(late.body)

    def test_a_wrong_account_is_told_in_plain_text(self, http_client: Http) -> None:
        reply = http_client.request(body="SELECT 1", headers=basic("nobody", "x"), compress="1")
        assert reply.text.startswith("Code: 516.")


class TestProgress:
    def headers(self, server: Server, sql: str, url: str) -> list[dict[str, int]]:
        connection = http.client.HTTPConnection(server.host, server.http_port, timeout=30)
        connection.request("POST", url, sql.encode(), basic(server.user, server.password))
        response = connection.getresponse()
        response.read()
        connection.close()
        values = response.headers.get_all("X-ClickHouse-Progress") or []
        return [{name: int(value) for name, value in json.loads(text).items()} for text in values]

    def test_it_stands_in_the_head_of_the_reply(self, server: Server) -> None:
        found = self.headers(server, _SLOW, "/?send_progress_in_http_headers=1&wait_end_of_query=1")
        assert len(found) > 1
        assert [values["read_rows"] for values in found] == sorted(values["read_rows"] for values in found)
        assert (found[-1]["read_rows"], found[-1]["elapsed_ns"] > 800_000_000) == (3, True)

    def test_there_is_one_at_least_and_none_unless_asked_for(self, server: Server, table: str) -> None:
        asked = f"/?database={server.database}&send_progress_in_http_headers=1"
        assert len(self.headers(server, "SELECT 1", asked)) >= 1
        inserted = self.headers(server, f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')", asked)
        assert inserted[-1]["written_rows"] == 2
        assert self.headers(server, _SLOW, "/") == []

    def test_the_interval_is_the_clients(self, server: Server) -> None:
        asked = "/?send_progress_in_http_headers=1&wait_end_of_query=1&http_headers_progress_interval_ms=60000"
        assert len(self.headers(server, _SLOW, asked)) <= 2
        refused = Http(server).post(
            "SELECT 1", send_progress_in_http_headers="1", http_headers_progress_interval_ms="x"
        )
        assert refused.headers["x-clickhouse-exception-code"] == "36"


class TestMethods:
    def test_options_names_the_methods_and_lets_no_other_site_in(self, http_client: Http) -> None:
        reply = http_client.request("OPTIONS", "/", headers={"Origin": "http://example.org"})
        assert (reply.status, reply.body) == (204, b"")
        assert reply.headers["allow"] == "GET, HEAD, POST, OPTIONS"
        assert not [name for name in reply.headers if name.startswith("access-control")]

    def test_head_runs_a_query_and_reads_only(self, http_client: Http) -> None:
        reply = http_client.request("HEAD", query="SELECT number FROM numbers(3)")
        assert (reply.status, reply.body, reply.summary["result_rows"]) == (200, b"", 3)
        refused = http_client.request("HEAD", query="CREATE TABLE x (a Int8) ENGINE = Memory")
        assert refused.headers["x-clickhouse-exception-code"] == "164"
        assert http_client.request("HEAD", "/ping").headers["content-length"] == "4"

    def test_a_post_must_say_where_it_ends(self, server: Server) -> None:
        account = basic(server.user, server.password)["Authorization"]
        with socket.create_connection((server.host, server.http_port), timeout=20) as sock:
            sock.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: {account}\r\n\r\n".encode())
            received = b""
            while b"HTTP_LENGTH_REQUIRED" not in received and (piece := sock.recv(1000)):
                received += piece
        assert received.startswith(b"HTTP/1.1 411 ")
        assert b"HTTP_LENGTH_REQUIRED" in received

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\x00\x01\x02\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        ],
    )
    def test_what_is_no_http_is_refused(self, server: Server, garbage: bytes) -> None:
        with socket.create_connection((server.host, server.http_port), timeout=20) as sock:
            sock.sendall(garbage)
            received = b""
            while piece := sock.recv(1000):
                received += piece
        assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))

    def test_a_broken_chunk_stores_nothing_and_the_server_goes_on(self, http_client: Http, table: str) -> None:
        server = http_client.server
        account = basic(server.user, server.password)["Authorization"]
        sql = f"INSERT INTO {server.database}.{table} FORMAT TSV\n1\ta\n".encode()
        head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: {account}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection((server.host, server.http_port), timeout=20) as sock:
            sock.sendall(head.encode() + b"%x\r\n%s\r\n" % (len(sql), sql) + b"this is no size\r\n")
            received = b""
            while piece := sock.recv(1000):
                received += piece
        assert received.startswith(b"HTTP/1.1 400 ")
        assert http_client.ask(f"SELECT count() FROM {table}") == "0"
        assert "Traceback" not in server.end_of_log()
