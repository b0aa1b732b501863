"""The HTTP interface: raw requests, and clickhouse-connect on top of them."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from clickhouse_testkit.codings import COMPRESS, COMPRESS_IN_FRAMES, DECOMPRESS
from clickhouse_testkit.plain_http import FAILS_LATE, Http, basic
from clickhouse_testkit.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

_LONG = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"


def running(http_client: Http, query_id: str) -> bool:
    sql = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = {id:String}"
    return http_client.ask(sql, param_id=query_id) == "1"


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    connected = clickhouse_connect.get_client(
        host=server.host,
        port=server.http_port,
        username=server.user,
        password=server.password,
        database=server.database,
    )
    yield connected
    connected.close()


class TestAnswers:
    @pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
    def test_health_needs_no_account(self, http_client: Http, path: str) -> None:
        reply = http_client.request("GET", path, headers={})
        assert (reply.status, reply.body) == (200, b"Ok.\n")

    def test_unknown_paths_and_methods_are_refused(self, http_client: Http) -> None:
        assert http_client.request("GET", "/nope").status == 404
        assert http_client.request("PUT", "/", body="SELECT 1").status == 405

    def test_a_reply_names_query_zone_format_and_what_was_read(self, http_client: Http) -> None:
        reply = http_client.post("SELECT number FROM numbers(3) FORMAT JSONEachRow", query_id="my-id")
        assert reply.text == '{"number":0}\n{"number":1}\n{"number":2}\n'
        assert reply.headers["x-clickhouse-query-id"] == "my-id"
        assert reply.headers["x-clickhouse-timezone"] == "Asia/Seoul"
        assert reply.headers["x-clickhouse-format"] == "JSONEachRow"
        assert reply.headers["x-clickhouse-server-display-name"]
        assert reply.headers["content-type"].startswith("application/x-ndjson")
        assert (reply.summary["read_rows"], reply.summary["result_rows"]) == (3, 3)

    def test_the_query_is_url_and_body_together(self, http_client: Http) -> None:
        assert http_client.request("GET", query="SELECT 1").body == b"1\n"
        assert http_client.request("POST", query="SELECT 1").body == b"1\n"
        assert http_client.request("POST", query="SELECT", body="2").body == b"2\n"

    def test_the_format_may_come_from_the_request(self, http_client: Http) -> None:
        assert http_client.post("SELECT 'a'", default_format="CSV").text == '"a"\n'
        assert http_client.post("SELECT 'a'", headers={"X-ClickHouse-Format": "CSV"}).text == '"a"\n'
        assert http_client.post("SELECT 'a' FORMAT TSV", default_format="CSV").text == "a\n"

    def test_dates_without_a_zone_are_in_the_servers(self, http_client: Http) -> None:
        assert http_client.ask("SELECT toDateTime(0), timezone()") == "1970-01-01 09:00:00\tAsia/Seoul"

    def test_the_database_may_come_from_the_request(self, http_client: Http, server: Server) -> None:
        own = basic(server.user, server.password)
        asked = "SELECT currentDatabase()"
        assert http_client.request(body=asked).text == "default\n"
        assert http_client.request(body=asked, database="system").text == "system\n"
        assert http_client.request(body=asked, headers={**own, "X-ClickHouse-Database": "system"}).text == "system\n"

    def test_parameters_and_settings_come_in_the_url(self, http_client: Http) -> None:
        sql = "SELECT {x:String}, {n:Array(UInt8)}, getSetting('max_threads')"
        reply = http_client.ask(sql, param_x="o'k\\t`", param_n="[1,2]", max_threads="3")
        assert reply == "o\\'k\\t`\t[1,2]\t3"

    def test_a_form_may_carry_the_query(self, http_client: Http, server: Server) -> None:
        fields = {"query": "SELECT {x:String}", "param_x": "a\\nb"}
        parts = "".join(
            f'--sep\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        headers = {**basic(server.user, server.password), "Content-Type": "multipart/form-data; boundary=sep"}
        assert http_client.request(body=parts + "--sep--\r\n", headers=headers).text == "a\\nb\n"

    def test_text_that_is_not_utf8_is_kept(self, http_client: Http) -> None:
        assert http_client.post(b"SELECT '\xff\xfe'").body == b"\xff\xfe\n"
        assert http_client.request("GET", query="SELECT hex('\udcff')").body == b"FF\n"

    def test_a_head_without_end_is_refused(self, server: Server) -> None:
        with socket.create_connection((server.host, server.http_port), timeout=30) as sock:
            sock.sendall(b"GET /?query=")
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                sock.sendall(b"x" * 64 * 1024 * 1024)


class TestAccount:
    def test_name_and_password_may_stand_in_three_places(self, http_client: Http, server: Server) -> None:
        headers = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}
        assert http_client.request(body="SELECT 1", headers=headers).status == 200
        assert http_client.request(body="SELECT 1", headers=basic(server.user, server.password)).status == 200
        in_url = {"user": server.user, "password": server.password}
        assert http_client.request(body="SELECT 1", headers={}, **in_url).status == 200

    @pytest.mark.parametrize("kind", ["user", "password", "header", "scheme", "garbage"])
    def test_a_wrong_account_is_refused(self, http_client: Http, server: Server, kind: str) -> None:
        headers = {
            "user": basic("other", server.password),
            "password": basic(server.user, server.password + "x"),
            "header": {"X-ClickHouse-User": server.user},
            "scheme": {"Authorization": "Bearer x"},
            "garbage": {"Authorization": "Basic ???"},
        }[kind]
        reply = http_client.request(body="SELECT 1", headers=headers)
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (403, "516")
        assert "AUTHENTICATION_FAILED" in reply.text

    def test_no_account_is_asked_for_one(self, http_client: Http) -> None:
        reply = http_client.request(body="SELECT 1", headers={})
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (401, "194")
        assert reply.headers["www-authenticate"].startswith("Basic ")


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "params", "status", "code"),
        [
            ("SELECT * FROM missing", {}, 404, 60),
            ("selec", {}, 400, 62),
            ("", {}, 400, 62),
            ("SELECT 1; SELECT 2", {}, 400, 62),
            ("SELECT {x:UInt8}", {"param_x": "a"}, 400, 457),
            ("SELECT {x:UInt8}", {}, 400, 456),
            ("SELECT 1", {"no_such_setting": "1"}, 404, 115),
            ("SELECT 1", {"database": "missing"}, 404, 81),
            ("SELECT 1 FORMAT Nope", {}, 404, 73),
            ("SELECT 1 INTO OUTFILE '/tmp/x'", {}, 500, 358),
            ("SELECT 1", {"session_id": "s", "session_timeout": "99999"}, 500, 374),
            ("SELECT 1", {"session_id": "never seen", "session_check": "1"}, 404, 372),
            ("SELECT 1", {"default_format": "TSV; DROP TABLE x"}, 404, 73),
            ("SELECT 1", {"role": "admin"}, 501, 48),
        ],
    )
    def test_an_error_has_the_servers_code_and_status(
        self, http_client: Http, sql: str, params: dict[str, str], status: int, code: int
    ) -> None:
        reply = http_client.request(body=sql, **params)
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (status, str(code))
        assert reply.text.startswith(f"Code: {code}. DB::Exception: ")

    @pytest.mark.parametrize(
        "sql", ["SELECT 1 FORMAT Nope", "INSERT INTO FUNCTION null('a Int8') FORMAT Nope x", "SELECT toUInt8('x')"]
    )
    def test_an_error_is_told_once(self, http_client: Http, sql: str) -> None:
        text = http_client.post(sql).text
        assert text.count("DB::Exception") == text.count("(version ") == 1
        assert text.rstrip().endswith("(official build))")

    def test_get_is_read_only(self, http_client: Http) -> None:
        for sql in ("CREATE TABLE x (a Int8) ENGINE = Memory", "INSERT INTO x VALUES (1)", "SYSTEM FLUSH LOGS"):
            reply = http_client.request("GET", query=sql)
            assert reply.headers["x-clickhouse-exception-code"] == "164"

    def test_an_error_behind_the_headers_comes_in_the_body_with_its_tag(self, http_client: Http) -> None:
        reply = http_client.post(FAILS_LATE)
        tag = reply.headers["x-clickhouse-exception-tag"]
        assert reply.status == 200
        head, tail = f"\r\n__exception__\r\n{tag}\r\n".encode(), f" {tag}\r\n__exception__\r\n".encode()
        assert reply.body.split(b"\n", 1)[0].endswith(b"\t0")
        assert reply.body.endswith(tail)
        message, _, length = reply.body.partition(head)[2].removesuffix(tail).rpartition(b"\n")
        assert message.startswith(b"Code: 395. DB::Exception: ")
        assert int(length) == len(message) + 1

    def test_waiting_for_the_end_turns_it_into_a_status(self, http_client: Http) -> None:
        reply = http_client.post(FAILS_LATE, wait_end_of_query="1")
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (500, "395")
        assert http_client.ask("SELECT count() FROM numbers(5)", wait_end_of_query="1") == "5"


class TestInserts:
    def test_data_stands_in_url_or_body(self, http_client: Http, table: str, server: Server) -> None:
        database = server.database
        http_client.ask(f"INSERT INTO {table} VALUES (1, 'a;'), (2, upper('b'));")
        http_client.request(query=f"INSERT INTO {table} FORMAT CSV", body="3,c\n", database=database)
        http_client.request(query=f"INSERT INTO {table} VALUES (4, 'd'),", body="(5, 'e')", database=database)
        http_client.ask(f'INSERT INTO {table} (a) FORMAT JSONEachRow {{"a": 6}}')
        http_client.request(
            query=f"INSERT INTO {table}", body="7\tg\n", database=database, default_format="TabSeparated"
        )
        http_client.ask(f"INSERT INTO {table} SELECT 8, 'h'")
        stored = http_client.ask(f"SELECT groupArray((a, b)) FROM (SELECT * FROM {table} ORDER BY a)")
        assert stored == "[(1,'a;'),(2,'B'),(3,'c'),(4,'d'),(5,'e'),(6,''),(7,'g'),(8,'h')]"

    def test_the_reply_says_what_was_written(self, http_client: Http, table: str) -> None:
        reply = http_client.post(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")
        assert (reply.status, reply.body, reply.summary["written_rows"]) == (200, b"", 2)
        assert "x-clickhouse-format" not in reply.headers

    def test_malformed_data_stores_nothing(self, http_client: Http, table: str) -> None:
        reply = http_client.post(f"INSERT INTO {table} FORMAT CSV\n1,a\nx,b\n")
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (400, "27")
        assert http_client.ask(f"SELECT count() FROM {table}") == "0"

    @pytest.mark.parametrize("framing", ["content-length", "chunked"])
    def test_a_client_that_leaves_in_the_middle_stores_nothing(
        self, http_client: Http, table: str, server: Server, framing: str
    ) -> None:
        query_id = str(uuid.uuid4())
        connection = http.client.HTTPConnection(server.host, server.http_port, timeout=30)
        connection.putrequest("POST", f"/?database={server.database}&query_id={query_id}")
        for name, value in basic(server.user, server.password).items():
            connection.putheader(name, value)
        data = f"INSERT INTO {table} FORMAT CSV\n".encode() + b"1,a\n" * 100_000
        if framing == "chunked":
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            connection.send(b"%x\r\n%s\r\n" % (len(data), data))
        else:
            connection.putheader("Content-Length", str(len(data) + 4))
            connection.endheaders()
            connection.send(data)
        eventually(lambda: running(http_client, query_id))
        connection.close()
        eventually(lambda: not running(http_client, query_id))
        assert http_client.ask(f"SELECT count() FROM {table}") == "0"

    @pytest.mark.parametrize("coding", sorted(COMPRESS_IN_FRAMES))
    def test_a_compressed_body_may_have_several_frames(self, http_client: Http, table: str, coding: str) -> None:
        rows = "".join(f"{number},{'x' * 50}\n" for number in range(20_000))
        compress = COMPRESS[coding]
        body = compress(f"INSERT INTO {table} FORMAT CSV\n".encode()) + compress(rows.encode())
        reply = http_client.post(body, headers={"Content-Encoding": coding})
        assert reply.status == 200, reply.text
        assert http_client.ask(f"SELECT count(), sum(a) FROM {table}") == f"20000\t{sum(range(20_000))}"

    @pytest.mark.parametrize("coding", sorted(COMPRESS))
    @pytest.mark.parametrize("damage", ["cut", "garbage"])
    def test_a_damaged_body_stores_nothing(self, http_client: Http, table: str, coding: str, damage: str) -> None:
        body = COMPRESS[coding](f"INSERT INTO {table} FORMAT CSV\n1,a\n".encode())
        damaged = body[:-3] if damage == "cut" else b"\x00\x01\x02garbage" + body
        reply = http_client.post(damaged, headers={"Content-Encoding": coding})
        assert reply.headers["x-clickhouse-exception-code"] in {"33", "117"}
        assert http_client.ask(f"SELECT count() FROM {table}") == "0"

    def test_an_unknown_encoding_is_named(self, http_client: Http) -> None:
        reply = http_client.post("SELECT 1", headers={"Content-Encoding": "rot13"})
        assert reply.status == 501
        assert "rot13" in reply.text


class TestCompressedReplies:
    @pytest.mark.parametrize("coding", sorted(DECOMPRESS))
    def test_a_reply_is_compressed_when_both_sides_agree(self, http_client: Http, coding: str) -> None:
        sql = "SELECT number FROM numbers(200000)"
        reply = http_client.post(sql, headers={"Accept-Encoding": coding}, enable_http_compression="1")
        assert reply.headers["content-encoding"] == coding
        assert DECOMPRESS[coding](reply.body) == http_client.post(sql).body

    def test_it_is_not_when_the_client_does_not_ask(self, http_client: Http) -> None:
        assert "content-encoding" not in http_client.post("SELECT 1", headers={"Accept-Encoding": "gzip"}).headers
        refused = {"Accept-Encoding": "gzip;q=0, identity"}
        assert (
            "content-encoding" not in http_client.post("SELECT 1", headers=refused, enable_http_compression="1").headers
        )

    @pytest.mark.parametrize("coding", sorted(DECOMPRESS))
    @pytest.mark.parametrize("sql", ["selec", "SELECT throwIf(number = 3) FROM numbers(9) FORMAT CSV", ""])
    def test_an_error_is_compressed_like_a_result(self, http_client: Http, coding: str, sql: str) -> None:
        plain = http_client.post(sql)
        reply = http_client.post(sql, headers={"Accept-Encoding": coding}, enable_http_compression="1")
        assert (reply.status, reply.headers["content-encoding"]) == (plain.status, coding)
        assert DECOMPRESS[coding](reply.body) == plain.body
        assert plain.body.startswith(b"Code: ")

    def test_a_late_error_is_inside_the_compressed_reply(self, http_client: Http) -> None:
        reply = http_client.post(FAILS_LATE, headers={"Accept-Encoding": "gzip"}, enable_http_compression="1")
        assert reply.headers["x-clickhouse-exception-tag"].encode() in gzip.decompress(reply.body)


class TestSessions:
    def test_a_session_keeps_temporary_tables_settings_and_database(self, http_client: Http) -> None:
        session = str(uuid.uuid4())
        http_client.ask("CREATE TEMPORARY TABLE mine (a UInt8)", session_id=session)
        http_client.ask("INSERT INTO mine VALUES (7)", session_id=session)
        http_client.ask("SET max_threads = 5", session_id=session)
        asked = "SELECT a, getSetting('max_threads') FROM mine"
        assert http_client.ask(asked, session_id=session, session_check="1") == "7\t5"
        assert http_client.ask(asked, session_id=session, max_threads="3") == "7\t3"
        assert http_client.ask(asked, session_id=session) == "7\t5"

    @pytest.mark.parametrize("kind", ["TEMPORARY TABLE", "OR REPLACE TEMPORARY TABLE", "/* a */ temporary table"])
    def test_a_temporary_table_needs_a_session(self, http_client: Http, kind: str) -> None:
        reply = http_client.post(f"CREATE {kind} mine (a UInt8)")
        assert (reply.headers["x-clickhouse-exception-code"], reply.status) == ("113", 500)
        assert "THERE_IS_NO_SESSION" in reply.text
        wrong = http_client.post(f"CREATE {kind} mine (")
        assert wrong.headers["x-clickhouse-exception-code"] == "62"

    def test_a_session_serves_one_query_at_a_time(self, http_client: Http, server: Server) -> None:
        session, query_id = str(uuid.uuid4()), str(uuid.uuid4())
        busy = http.client.HTTPConnection(server.host, server.http_port, timeout=30)
        url = f"/?session_id={session}&query_id={query_id}"
        busy.request("POST", url, _LONG.encode(), basic(server.user, server.password))
        eventually(lambda: running(http_client, query_id))
        reply = http_client.post("SELECT 1", session_id=session)
        assert reply.headers["x-clickhouse-exception-code"] == "373"
        http_client.ask("KILL QUERY WHERE query_id = {id:String} SYNC", param_id=query_id)
        assert busy.getresponse().read().startswith(b"Code: 394.")
        busy.close()
        assert http_client.ask("SELECT 1", session_id=session) == "1"

    def test_a_session_is_free_once_its_reply_is_complete(self, http_client: Http) -> None:
        session = str(uuid.uuid4())
        for number in range(100):
            assert http_client.ask(f"SELECT {number}", session_id=session) == str(number)

    def test_a_session_ends_when_it_is_closed(self, http_client: Http) -> None:
        session = str(uuid.uuid4())
        http_client.ask("SELECT 1", session_id=session, close_session="1")
        reply = http_client.post("SELECT 1", session_id=session, session_check="1")
        assert reply.headers["x-clickhouse-exception-code"] == "372"


def test_a_client_that_leaves_ends_its_query(http_client: Http, server: Server) -> None:
    query_id = str(uuid.uuid4())
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=30)
    connection.request("POST", f"/?query_id={query_id}", _LONG.encode(), basic(server.user, server.password))
    eventually(lambda: running(http_client, query_id))
    connection.close()
    eventually(lambda: not running(http_client, query_id))


class TestNativeRevisions:
    @pytest.mark.parametrize("version", ["54405", "54336"])
    def test_block_info_stands_in_front_of_each_block(self, http_client: Http, version: str) -> None:
        reply = http_client.post("SELECT 1 AS check", default_format="Native", client_protocol_version=version)
        assert reply.body == b"\x01\x00\x02\xff\xff\xff\xff\x00\x01\x01\x05check\x05UInt8\x01"
        assert http_client.post("SELECT 1 AS check", default_format="Native").body == reply.body[8:]

    @pytest.mark.parametrize(("version", "has_zone"), [("54337", True), ("54336", False), ("0", False)])
    def test_a_time_zone_is_written_from_its_revision_on(self, http_client: Http, version: str, has_zone: bool) -> None:
        sql = "SELECT toDateTime(0, 'Europe/Paris') AS d, 1 AS x"
        reply = http_client.post(sql, default_format="Native", client_protocol_version=version)
        assert (b"DateTime('Europe/Paris')" in reply.body) is has_zone

    def test_each_block_of_a_whole_result_gets_its_own(self, http_client: Http) -> None:
        reply = http_client.post("DESCRIBE TABLE system.one", default_format="Native", client_protocol_version="54405")
        assert reply.body.count(b"\x01\x00\x02\xff\xff\xff\xff\x00") == 1


class TestClickHouseConnect:
    def test_rows_go_there_and_back(self, client: Client) -> None:
        client.command(
            "CREATE TABLE cc (n UInt64, s String, d DateTime('America/New_York'), f Nullable(Float64), a Array(String))"
            " ENGINE = MergeTree ORDER BY n"
        )
        noon = datetime(2026, 3, 8, 12, 0, tzinfo=UTC)
        rows = [
            [number, f"이름 {number}'", noon, None if number % 2 else 0.5, ["a", str(number)]] for number in range(500)
        ]
        assert client.insert("cc", rows, column_names=["n", "s", "d", "f", "a"]).written_rows == 500
        result = client.query("SELECT * FROM cc ORDER BY n")
        assert [list(row) for row in result.result_rows] == rows
        assert result.result_rows[0][2].tzinfo == ZoneInfo("America/New_York")
        frame = client.query_df("SELECT n, f FROM cc ORDER BY n")
        assert (len(frame), int(frame["n"].sum())) == (500, sum(range(500)))
        client.command("DROP TABLE cc")

    def test_data_frames_and_arrow(self, client: Client) -> None:
        import pandas as pd

        client.command("CREATE TABLE df (n UInt64, s String) ENGINE = Memory")
        client.insert_df("df", pd.DataFrame({"n": [1, 2, 3], "s": ["a", "b", "c"]}))
        table = client.query_arrow("SELECT * FROM df ORDER BY n")
        client.insert_arrow("df", table)
        assert client.query("SELECT sum(n), count() FROM df").result_rows == [(12, 6)]
        client.command("DROP TABLE df")

    def test_parameters_on_either_side(self, client: Client) -> None:
        value = "o'k\\ \t{x}"
        assert client.query("SELECT {v:String}", parameters={"v": value}).result_rows == [(value,)]
        assert client.query("SELECT %(v)s", parameters={"v": value}).result_rows == [(value,)]
        big = "x" * 200_000
        assert client.query("SELECT length({v:String})", parameters={"v": big}).result_rows == [(len(big),)]

    def test_results_are_streamed(self, client: Client) -> None:
        with client.query_row_block_stream("SELECT number FROM numbers(400000)") as blocks:
            sizes = [len(block) for block in blocks]
        assert sum(sizes) == 400_000
        assert len(sizes) > 1

    def test_errors_have_their_code_before_and_behind_the_headers(self, client: Client) -> None:
        with pytest.raises(DatabaseError, match="code: 60"):
            client.query("SELECT * FROM missing")
        with pytest.raises((StreamFailureError, DatabaseError), match="395"):
            client.query(FAILS_LATE)
        assert client.command("SELECT 1") == 1

    def test_its_session_is_the_same_throughout(self, client: Client) -> None:
        client.command("CREATE TEMPORARY TABLE own (a UInt8)")
        client.insert("own", [[1], [2]], column_names=["a"])
        assert client.query("SELECT sum(a) FROM own", settings={"max_threads": 1}).result_rows == [(3,)]

    def test_the_async_client_runs_queries_side_by_side(self, server: Server) -> None:
        async def run() -> list[int]:
            async with await clickhouse_connect.get_async_client(
                host=server.host,
                port=server.http_port,
                username=server.user,
                password=server.password,
                database=server.database,
                autogenerate_session_id=False,
            ) as client:
                await client.command("CREATE TABLE aio (a UInt32) ENGINE = MergeTree ORDER BY a")
                await asyncio.gather(*(client.insert("aio", [[number]], column_names=["a"]) for number in range(20)))
                results = await asyncio.gather(*(client.query("SELECT sum(a) FROM aio") for _ in range(20)))
                await client.command("DROP TABLE aio")
                return [result.result_rows[0][0] for result in results]

        assert asyncio.run(run()) == [sum(range(20))] * 20


def test_json_of_a_whole_result_is_one_document(http_client: Http) -> None:
    document = json.loads(http_client.post("SELECT number FROM numbers(200000) FORMAT JSON").body)
    assert (document["rows"], len(document["data"])) == (200_000, 200_000)
