"""External tables: files sent along with a query, by hand and by clickhouse-connect."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from clickhouse_testkit.plain_http import Http, Reply, basic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

_PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    connected = clickhouse_connect.get_client(**server.http_arguments())
    yield connected
    connected.close()


def send(http_client: Http, query: str, files: dict[str, bytes], fields: dict[str, str], **params: str) -> Reply:
    """A query with files, in the form that curl -F makes."""
    parts = [
        b'--sep\r\nContent-Disposition: form-data; name="%s"; filename="%s.tsv"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n" % (name.encode(), name.encode(), data)
        for name, data in files.items()
    ]
    parts += [
        b'--sep\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value.encode())
        for name, value in fields.items()
    ]
    own = basic(http_client.server.user, http_client.server.password)
    return http_client.request(
        body=b"".join([*parts, b"--sep--\r\n"]),
        headers={**own, "Content-Type": "multipart/form-data; boundary=sep"},
        query=query,
        **params,
    )


def test_a_file_is_a_table_for_one_query(http_client: Http) -> None:
    sql = "SELECT shell, count() AS c FROM passwd GROUP BY shell ORDER BY c DESC"
    reply = send(
        http_client, sql, {"passwd": b"a\tsh\nb\tbash\nc\tsh\n"}, {}, passwd_structure="login String, shell String"
    )
    assert reply.text == "sh\t2\nbash\t1\n"
    assert http_client.post(sql).headers["x-clickhouse-exception-code"] == "60"


def test_columns_without_names_are_numbered(http_client: Http) -> None:
    types = "UInt8, Tuple(a UInt8, b String), Enum8('x,y' = 1)"
    reply = send(http_client, "SELECT _1, _2.b, _3 FROM data", {"data": b"7\t(1,'q')\tx,y\n"}, {}, data_types=types)
    assert reply.text == "7\tq\tx,y\n"


def test_several_tables_with_fields_behind_them(http_client: Http) -> None:
    fields = {
        "a_types": "UInt8",
        "b_structure": "x UInt8, y String",
        "b_format": "CSVWithNames",
        "query": "SELECT y, {p:String} FROM a JOIN b ON a._1 = b.x",
        "param_p": "v",
    }
    parts = {"a": b"1\n2\n", "b": b'x,y\n2,"two"\n3,three\n'}
    own = basic(http_client.server.user, http_client.server.password)
    body = b"".join(
        b'--sep\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), extra, data)
        for name, extra, data in [
            *((name, b'; filename="f"', data) for name, data in parts.items()),
            *((name, b"", value.encode()) for name, value in fields.items()),
        ]
    )
    headers = {**own, "Content-Type": "multipart/form-data; boundary=sep"}
    assert http_client.request(body=body + b"--sep--\r\n", headers=headers).text == "two\tv\n"


def test_a_named_session_does_not_keep_it(http_client: Http) -> None:
    session = str(uuid.uuid4())
    for _ in range(2):
        reply = send(http_client, "SELECT sum(_1) FROM t1", {"t1": b"1\n2\n"}, {}, t1_types="UInt8", session_id=session)
        assert reply.text == "3\n"
    left = http_client.post("SELECT * FROM t1", session_id=session)
    assert left.headers["x-clickhouse-exception-code"] == "60"


def test_a_temporary_table_of_the_session_is_not_touched(http_client: Http) -> None:
    session = str(uuid.uuid4())
    http_client.ask("CREATE TEMPORARY TABLE t2 (a UInt8)", session_id=session)
    http_client.ask("INSERT INTO t2 VALUES (9)", session_id=session)
    reply = send(http_client, "SELECT * FROM t2", {"t2": b"1\n"}, {}, t2_types="UInt8", session_id=session)
    assert reply.headers["x-clickhouse-exception-code"] == "57"
    assert http_client.ask("SELECT a FROM t2", session_id=session) == "9"


def test_a_query_that_fails_leaves_nothing_in_the_session(http_client: Http) -> None:
    session = str(uuid.uuid4())
    asked = {"t3_types": "UInt8", "session_id": session}
    reply = send(http_client, "SELECT throwIf(_1 = 1) FROM t3", {"t3": b"1\n"}, {}, **asked)
    assert reply.headers["x-clickhouse-exception-code"] == "395"
    assert send(http_client, "SELECT _1 FROM t3", {"t3": b"2\n"}, {}, **asked).text == "2\n"


@pytest.mark.parametrize(
    ("params", "data", "code", "words"),
    [
        ({}, b"1\n", "36", "Neither structure nor types"),
        ({"t_types": "Nope"}, b"1\n", "50", "Nope"),
        ({"t_structure": "a UInt8) ENGINE = Memory --"}, b"1\n", "62", "Syntax error"),
        ({"t_types": "UInt8"}, b"x\n", "27", "UInt8"),
        ({"t_types": "UInt8", "t_format": "Nope"}, b"1\n", "73", "Nope"),
        ({"t_types": "UInt8", "t_format": "TSV SETTINGS x = 1"}, b"1\n", "73", "Unknown format"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    http_client: Http, params: dict[str, str], data: bytes, code: str, words: str
) -> None:
    reply = send(http_client, "SELECT * FROM t", {"t": data}, {}, **params)
    assert reply.headers["x-clickhouse-exception-code"] == code, reply.text
    assert words in reply.text


def test_who_may_only_read_may_bring_tables(http_client: Http) -> None:
    reply = send(http_client, "SELECT _1 FROM t", {"t": b"1\n"}, {}, t_types="UInt8", readonly="2")
    assert reply.text == "1\n"


def test_settings_reach_the_parser(http_client: Http) -> None:
    asked = {"t_types": "String,String", "t_format": "CSV", "format_csv_delimiter": "|"}
    assert send(http_client, "SELECT _2 FROM t", {"t": b"a|b\n"}, {}, **asked).text == "b\n"


def test_a_large_file_comes_whole(http_client: Http) -> None:
    data = b"".join(b"%d\n" % number for number in range(500_000))
    reply = send(http_client, "SELECT count(), sum(_1) FROM t", {"t": data}, {}, t_types="UInt32")
    assert reply.text == f"500000\t{sum(range(500_000))}\n"


class TestClickHouseConnect:
    def test_external_data_in_several_files_and_formats(self, client: Client) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(pa.table({"id": pa.array([1, 2], pa.uint32())}), sink)
        data = ExternalData(
            file_name="movies.csv", data=b'1,"a, b"\n2,c\n', fmt="CSV", structure=["id UInt32", "title String"]
        )
        data.add_file(file_name="ids", data=sink.getvalue().to_pybytes(), fmt="Parquet", structure="id UInt32")
        sql = "SELECT title FROM movies WHERE id IN (SELECT id FROM ids) AND id > {least:UInt8}"
        assert client.query(sql, parameters={"least": 1}, external_data=data).result_rows == [("c",)]
        assert list(client.query_df("SELECT id FROM movies ORDER BY id", external_data=data)["id"]) == [1, 2]
        assert client.query_arrow("SELECT id FROM ids", external_data=data).num_rows == 2
        assert client.raw_query("SELECT count() FROM ids", external_data=data) == b"2\n"
        assert client.command("SELECT count() FROM ids", external_data=data) == 2
        with pytest.raises(DatabaseError, match="code: 60"):
            client.query("SELECT * FROM movies")

    def test_the_async_client_sends_it_too(self, server: Server) -> None:
        data = ExternalData(file_name="t.tsv", data=b"1\n2\n", types=["UInt8"])

        async def run() -> list[tuple[int, ...]]:
            async with await clickhouse_connect.get_async_client(**server.http_arguments()) as client:
                return (await client.query("SELECT sum(_1) FROM t", external_data=data)).result_rows

        assert asyncio.run(run()) == [(3,)]

    def test_time_zones_of_tables_that_only_the_session_knows_are_kept(self, client: Client) -> None:
        midnight = datetime(2026, 1, 1, tzinfo=_PARIS)
        data = ExternalData(file_name="t.tsv", data=b"2026-01-01 00:00:00\n", types=["DateTime('Europe/Paris')"])
        client.command("CREATE TEMPORARY TABLE own (d DateTime('Europe/Paris'))")
        client.insert("own", [[midnight]], column_names=["d"])
        for rows in (
            client.query("SELECT _1 FROM t", external_data=data).result_rows,
            client.query("SELECT d FROM own").result_rows,
        ):
            assert rows == [(midnight,)]
            assert rows[0][0].tzinfo == _PARIS
