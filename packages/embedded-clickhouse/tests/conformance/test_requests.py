"""What surrounds a statement: parameters, settings, sessions, ids, summaries, cancelling, and health."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
from clickhouse_driver.protocol import ServerPacketTypes

from clickhouse_testkit.plain_http import basic
from clickhouse_testkit.target import CLIENTS, ConnectClient, Failure, NativeClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_testkit.suite import Suite
    from clickhouse_testkit.target import Client

_DEADLINE_SECONDS = 30.0
_ENDLESS = "SELECT count() FROM system.numbers WHERE NOT ignore(number)"
_ENDLESS_ROWS = "SELECT number FROM system.numbers"


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {_DEADLINE_SECONDS:.0f} s"
        time.sleep(0.02)


def _is_running(suite: Suite, query_id: str) -> bool:
    """Whether a statement of the suite runs, found by a comment of its own."""
    sql = "SELECT count() FROM system.processes WHERE position(query, {id:String}) > 0 AND query NOT LIKE '%processes%'"
    return suite.plain.ask(sql, param_id=query_id) != "0"


def _named(sql: str, query_id: str) -> str:
    return f"{sql} /* {query_id} */"


# Parameters.

_PARAMETERS: dict[str, tuple[str, str]] = {
    "Int8": ("-128", "-128"),
    "UInt64": ("18446744073709551615", "18446744073709551615"),
    "Int256": (str(-(2**255)), str(-(2**255))),
    "Float64": ("-0.5", "-0.5"),
    "Bool": ("true", "true"),
    "String": ("o'k \\\\ \\t`\"{}", "o\\'k \\\\ \\t`\"{}"),
    "FixedString(3)": ("abc", "abc"),
    "Date": ("2026-11-01", "2026-11-01"),
    "Date32": ("1900-01-01", "1900-01-01"),
    "DateTime('UTC')": ("2026-11-01 01:30:00", "2026-11-01 01:30:00"),
    "DateTime64(6, 'UTC')": ("2026-11-01 01:30:00.123456", "2026-11-01 01:30:00.123456"),
    "Decimal(38, 10)": ("-1.0000000001", "-1.0000000001"),
    "UUID": ("00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"),
    "IPv4": ("127.0.0.1", "127.0.0.1"),
    "IPv6": ("2001:db8::1", "2001:db8::1"),
    "Enum8('a' = 1, 'b' = 2)": ("b", "b"),
    "Nullable(String)": ("\\N", "\\N"),
    "Nullable(UInt8)": ("7", "7"),
    "LowCardinality(String)": ("x", "x"),
    "Array(UInt8)": ("[1,2]", "[1,2]"),
    "Array(Array(String))": ("[['a','b\\'c'],[]]", "[['a','b\\'c'],[]]"),
    "Tuple(UInt8, String)": ("(1,'a')", "(1,'a')"),
    "Map(String, UInt8)": ("{'a':1}", "{'a':1}"),
}


@pytest.mark.parametrize("type_name", _PARAMETERS)
def test_a_parameter_has_its_type(suite: Suite, type_name: str) -> None:
    given, expected = _PARAMETERS[type_name]
    sql = f"SELECT {{x:{type_name}}}, toTypeName({{x:{type_name}}})"
    value, name = suite.plain.ask(sql, param_x=given).split("\t")
    assert value == expected
    assert name.replace("\\'", "'") == type_name


@pytest.mark.parametrize(
    ("type_name", "given", "code"),
    [("UInt8", "256x", 457), ("Date", "tomorrow", 38), ("UUID", "x", 376), ("Array(UInt8)", "[1", 27)],
)
def test_a_parameter_of_another_type_is_refused(suite: Suite, type_name: str, given: str, code: int) -> None:
    assert suite.plain.post(f"SELECT {{x:{type_name}}}", param_x=given).code == code


def test_parameters_may_be_names(suite: Suite) -> None:
    table = suite.new_name()
    names = {"param_t": table, "param_db": suite.target.database, "param_c": "odd `name"}
    suite.plain.ask("CREATE TABLE {db:Identifier}.{t:Identifier} (`odd \\`name` UInt8) ENGINE = Memory", **names)
    reply = suite.plain.post("INSERT INTO {t:Identifier} VALUES (7)", **names)
    assert reply.code is None, reply.text
    assert suite.plain.ask("SELECT {c:Identifier} FROM {db:Identifier}.{t:Identifier}", **names) == "7"
    suite.plain.ask("DROP TABLE {t:Identifier} SYNC", **names)


def test_a_value_cannot_leave_its_parameter(suite: Suite) -> None:
    value = "x' OR 1=1 --\n\t\\ {y:String} %s 한글"
    assert suite.connect.client.query("SELECT {x:String}", parameters={"x": value}).result_rows == [(value,)]
    assert suite.connect.client.query("SELECT %(x)s", parameters={"x": value}).result_rows == [(value,)]
    assert suite.native.client.execute("SELECT %(x)s", {"x": value}) == [(value.encode(),)]


def test_a_statement_may_be_a_form(suite: Suite) -> None:
    fields = {"query": "SELECT {x:String}, {y:UInt8}", "param_x": "a\\nb", "param_y": "3"}
    parts = "".join(
        f'--sep\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=sep"}
    assert suite.plain.post(parts + "--sep--\r\n", headers=headers).text == "a\\nb\t3\n"


# Settings.


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_settings_hold_for_one_statement(suite: Suite, name: str) -> None:
    client = suite.client(name)
    sql = "SELECT getSetting('max_block_size')"
    before = client.rows(sql)
    assert [tuple(row) for row in client.rows(sql, {"max_block_size": 1234})] == [(1234,)]
    assert client.rows(sql) == before


def test_settings_of_a_connection_hold_until_its_end(suite: Suite) -> None:
    with contextlib.closing(NativeClient(suite.target)) as client:
        client.rows("SET max_block_size = 17")
        assert client.rows("SELECT getSetting('max_block_size')") == [(17,)]
        assert client.rows("SELECT getSetting('max_block_size')", {"max_block_size": 18}) == [(18,)]
        assert client.rows("SELECT getSetting('max_block_size')") == [(17,)]
    assert suite.native.rows("SELECT getSetting('max_block_size')") != [(17,)]


# Sessions.


def test_a_session_keeps_temporary_tables_settings_and_database(suite: Suite) -> None:
    session = {"session_id": str(uuid.uuid4()), "session_timeout": 60}
    suite.plain.ask("CREATE TEMPORARY TABLE mine (a UInt8)", **session)
    suite.plain.ask("INSERT INTO mine VALUES (7)", **session)
    suite.plain.ask("SET max_threads = 5", **session)
    sql = "SELECT a, getSetting('max_threads') FROM mine"
    assert suite.plain.ask(sql, **session, session_check=1) == "7\t5"
    assert suite.plain.ask(sql, **session, max_threads=3) == "7\t3"
    assert suite.plain.ask(sql, **session) == "7\t5"
    assert suite.plain.post(sql).code == 60


def test_temporary_tables_are_their_clients_own(suite: Suite) -> None:
    for make in (ConnectClient, NativeClient):
        with contextlib.closing(make(suite.target)) as one, contextlib.closing(make(suite.target)) as other:
            one.rows("CREATE TEMPORARY TABLE own (a UInt8)") if make is NativeClient else one.client.command(
                "CREATE TEMPORARY TABLE own (a UInt8)"
            )
            one.insert("own", ["a"], ["UInt8"], [(1,), (2,)])
            assert [tuple(row) for row in one.rows("SELECT sum(a) FROM own")] == [(3,)]
            with pytest.raises(Failure) as caught:
                other.rows("SELECT a FROM own")
            assert caught.value.code == 60


def test_a_session_that_is_not_there_can_be_refused(suite: Suite) -> None:
    session = str(uuid.uuid4())
    assert suite.plain.post("SELECT 1", session_id=session, session_check=1).code == 372
    assert suite.plain.ask("SELECT 1", session_id=session) == "1"
    assert suite.plain.ask("SELECT 1", session_id=session, session_check=1) == "1"
    assert suite.plain.ask("SELECT 1", session_id=session, close_session=1) == "1"
    assert suite.plain.post("SELECT 1", session_id=session, session_check=1).code == 372


def test_a_session_ends_after_its_time(suite: Suite) -> None:
    session = str(uuid.uuid4())
    suite.plain.ask("CREATE TEMPORARY TABLE short_lived (a UInt8)", session_id=session, session_timeout=1)

    deadline = time.monotonic() + _DEADLINE_SECONDS
    gone = None
    while gone != 372:
        assert time.monotonic() < deadline, "the session did not end"
        # A look begins its time anew, so each look comes after it.
        time.sleep(1.5)
        gone = suite.plain.post("SELECT 1", session_id=session, session_timeout=1, session_check=1).code


@pytest.mark.parametrize("timeout", ["99999999", "-1", "soon"])
def test_a_session_timeout_that_makes_no_sense_is_refused(suite: Suite, timeout: str) -> None:
    assert suite.plain.post("SELECT 1", session_id=str(uuid.uuid4()), session_timeout=timeout).code == 374


def test_a_session_serves_one_statement_at_a_time(suite: Suite) -> None:
    session, query_id = str(uuid.uuid4()), str(uuid.uuid4())
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(suite.plain.post, _named(_ENDLESS, query_id), session_id=session, query_id=query_id)
        _until(lambda: _is_running(suite, query_id), "the start of the statement")
        assert suite.plain.post("SELECT 1", session_id=session).code == 373
        suite.plain.ask("KILL QUERY WHERE query_id = {id:String} SYNC", param_id=query_id)
        assert busy.result(_DEADLINE_SECONDS).code == 394
    assert suite.plain.ask("SELECT 1", session_id=session) == "1"


def test_a_session_is_free_once_its_reply_is_complete(suite: Suite) -> None:
    session = str(uuid.uuid4())
    assert [suite.plain.ask(f"SELECT {number}", session_id=session) for number in range(50)] == [
        str(number) for number in range(50)
    ]


# Headers.


def test_a_reply_names_its_statement_zone_and_format(suite: Suite) -> None:
    query_id = str(uuid.uuid4())
    reply = suite.plain.post("SELECT number FROM numbers(3) FORMAT JSONEachRow", query_id=query_id)
    assert reply.headers["x-clickhouse-query-id"] == query_id
    assert reply.headers["x-clickhouse-timezone"] == suite.timezone
    assert reply.headers["x-clickhouse-format"] == "JSONEachRow"
    assert reply.headers["x-clickhouse-server-display-name"]
    assert reply.headers["content-type"].startswith("application/")
    assert suite.plain.post("SELECT 1").headers["x-clickhouse-query-id"] != query_id


def test_the_summary_counts_what_was_read_and_written(suite: Suite) -> None:
    table = suite.new_name()
    suite.plain.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    stored = suite.plain.post(f"INSERT INTO {table} SELECT number FROM numbers(1000)", wait_end_of_query=1)
    assert json.loads(stored.headers["x-clickhouse-summary"])["written_rows"] == "1000"
    sent = suite.plain.data(f"INSERT INTO {table} FORMAT TSV", "1\n2\n3\n")
    assert json.loads(sent.headers["x-clickhouse-summary"])["written_rows"] == "3"
    read = suite.plain.post(f"SELECT sum(a) FROM {table}", wait_end_of_query=1)
    summary = json.loads(read.headers["x-clickhouse-summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("1003", "1")
    assert suite.connect.client.insert(table, [[5], [6]], column_names=["a"]).written_rows == 2
    suite.native.rows(f"SELECT sum(a) FROM {table}")
    assert suite.native.client.last_query.progress.rows == 1005
    suite.native.client.execute(f"INSERT INTO {table} SELECT number FROM numbers(10)")
    assert suite.native.client.last_query.progress.written_rows == 10
    suite.native.insert(table, ["a"], ["UInt64"], [(7,), (8,), (9,)])
    progress = suite.native.client.last_query.progress
    assert (progress.rows, progress.bytes, progress.written_rows) == (0, 0, 3)
    suite.native.rows("SELECT 2")
    progress = suite.native.client.last_query.progress
    assert (progress.rows, progress.bytes) == (1, 1)
    suite.plain.ask(f"DROP TABLE {table} SYNC")


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
def test_health_needs_no_account(suite: Suite, path: str) -> None:
    reply = suite.plain.request("GET", path=path, headers={})
    assert (reply.status, reply.body) == (200, b"Ok.\n")


def test_health_over_the_native_protocol(suite: Suite) -> None:
    suite.native.rows("SELECT 1")
    assert suite.native.client.connection.ping() is True
    assert suite.connect.client.ping() is True


def test_an_unknown_path_is_not_found(suite: Suite) -> None:
    assert suite.plain.request("GET", path="/no_such_path").status == 404


def test_the_account_may_stand_in_three_places(suite: Suite) -> None:
    user, password = suite.target.user, suite.target.password
    for headers, params in (
        (basic(user, password), {}),
        ({"X-ClickHouse-User": user, "X-ClickHouse-Key": password}, {}),
        ({}, {"user": user, "password": password}),
    ):
        assert suite.plain.request("POST", "SELECT 1", headers=headers, **params).text == "1\n"


def test_the_database_may_stand_in_two_places(suite: Suite) -> None:
    own, sql = basic(suite.target.user, suite.target.password), "SELECT currentDatabase()"
    assert suite.plain.request("POST", sql, database="system").text == "system\n"
    assert suite.plain.request("POST", sql, headers={**own, "X-ClickHouse-Database": "system"}).text == "system\n"


def test_the_statement_may_stand_in_url_body_or_both(suite: Suite) -> None:
    for reply in (
        suite.plain.request("GET", query="SELECT 12"),
        suite.plain.request("POST", query="SELECT 12"),
        suite.plain.request("POST", "SELECT 12"),
        suite.plain.request("POST", "12", query="SELECT"),
        suite.plain.request("POST", "SELECT 12;"),
        suite.plain.request("POST", "/* a comment */ SELECT 12 -- another"),
    ):
        assert reply.text == "12\n"


def test_a_statement_need_not_be_text(suite: Suite) -> None:
    assert suite.plain.post(b"SELECT '\xff\xfe'").body == b"\xff\xfe\n"
    assert suite.plain.post(b"SELECT hex('\x00a')").body == b"0061\n"


# Ids and cancelling.


@pytest.fixture
def busy(suite: Suite) -> Iterator[tuple[str, str]]:
    """The id of a statement that a test starts, ended afterwards whatever happens; and its text."""
    query_id = str(uuid.uuid4())
    yield query_id, _named(_ENDLESS, query_id)
    suite.plain.ask("KILL QUERY WHERE query_id = {id:String} SYNC", param_id=query_id)


@pytest.mark.parametrize("killer", sorted(CLIENTS))
@pytest.mark.parametrize("victim", sorted(CLIENTS))
def test_a_client_kills_the_statement_of_another(suite: Suite, busy: tuple[str, str], killer: str, victim: str) -> None:
    query_id, sql = busy
    with ThreadPoolExecutor(1) as pool, contextlib.closing(CLIENTS[victim](suite.target)) as other:
        result = pool.submit(other.rows, sql, None, query_id)
        _until(lambda: _is_running(suite, query_id), "the start of the statement")
        suite.client(killer).rows(f"KILL QUERY WHERE query_id = '{query_id}' SYNC")
        with pytest.raises(Failure) as caught:
            result.result(_DEADLINE_SECONDS)
        assert caught.value.code == 394
        assert [tuple(row) for row in other.rows("SELECT 42")] == [(42,)]


def test_two_statements_cannot_have_one_id(suite: Suite, busy: tuple[str, str]) -> None:
    query_id, sql = busy
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(suite.plain.post, sql, query_id=query_id)
        _until(lambda: _is_running(suite, query_id), "the start of the statement")
        assert suite.plain.post("SELECT 1", query_id=query_id).code == 216
        with pytest.raises(Failure) as caught:
            suite.native.rows("SELECT 1", query_id=query_id)
        assert caught.value.code == 216
        suite.plain.ask("KILL QUERY WHERE query_id = {id:String} SYNC", param_id=query_id)
        assert first.result(_DEADLINE_SECONDS).code == 394


@pytest.mark.parametrize("sql", [_ENDLESS, _ENDLESS_ROWS], ids=["no rows yet", "amid rows"])
def test_a_client_of_http_that_leaves_ends_its_statement(suite: Suite, sql: str) -> None:
    query_id = str(uuid.uuid4())
    connection = suite.plain.open()
    connection.request(
        "POST",
        f"/?query_id={query_id}&cancel_http_readonly_queries_on_client_close=1",
        _named(sql, query_id).encode(),
        basic(suite.target.user, suite.target.password),
    )
    _until(lambda: _is_running(suite, query_id), "the start of the statement")
    connection.close()
    _until(lambda: not _is_running(suite, query_id), "the end of the statement")


@pytest.mark.parametrize("sql", [_ENDLESS, _ENDLESS_ROWS], ids=["no rows yet", "amid rows"])
def test_a_native_client_that_leaves_ends_its_statement(suite: Suite, sql: str) -> None:
    query_id = str(uuid.uuid4())
    with contextlib.closing(NativeClient(suite.target)) as leaving:
        leaving.rows("SELECT 1")
        leaving.client.connection.send_query(_named(sql, query_id), query_id=query_id)
        leaving.client.connection.send_external_tables(None)
        _until(lambda: _is_running(suite, query_id), "the start of the statement")
        leaving.client.connection.socket.shutdown(socket.SHUT_RDWR)
    _until(lambda: not _is_running(suite, query_id), "the end of the statement")


@pytest.mark.parametrize("sql", [_ENDLESS, _ENDLESS_ROWS], ids=["no rows yet", "amid rows"])
def test_a_native_client_cancels_and_goes_on(suite: Suite, sql: str) -> None:
    with contextlib.closing(NativeClient(suite.target)) as client:
        client.rows("SELECT 1")
        connection = client.client.connection
        connection.send_query(sql)
        connection.send_external_tables(None)
        connection.receive_packet()
        connection.send_cancel()
        while connection.receive_packet().type != ServerPacketTypes.END_OF_STREAM:
            pass
        assert client.rows("SELECT 42") == [(42,)]


def test_streams_closed_early_leave_the_client_usable(suite: Suite) -> None:
    client = suite.connect.client
    for _ in range(3):
        with client.query_row_block_stream("SELECT number FROM numbers(5000000)") as blocks:
            assert next(iter(blocks))[0] == (0,)
        assert client.query("SELECT 42").result_rows == [(42,)]
    with contextlib.closing(NativeClient(suite.target)) as native:
        rows = native.client.execute_iter("SELECT number FROM numbers(5000000)")
        assert [next(rows) for _ in range(3)] == [(0,), (1,), (2,)]
        native.client.cancel()
        assert native.rows("SELECT 42") == [(42,)]


def test_a_stream_is_whole_and_in_order(suite: Suite) -> None:
    with suite.connect.client.query_row_block_stream("SELECT number FROM numbers(300000)") as blocks:
        sizes = [len(block) for block in blocks]
    assert sum(sizes) == 300_000
    assert len(sizes) > 1
    rows = suite.native.client.execute_iter("SELECT number FROM numbers(300000)")
    assert all(row == (index,) for index, row in enumerate(rows))


def test_totals_and_extremes_of_a_result(suite: Suite) -> None:
    sql = "SELECT number % 2 AS k, sum(number) AS s FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k"
    document = json.loads(suite.plain.body(sql, "JSON", output_format_json_quote_64bit_integers=0, extremes=1))
    assert [tuple(row.values()) for row in document["data"]] == [(0, 20), (1, 25)]
    assert document["totals"]["s"] == 45
    assert (document["extremes"]["min"]["s"], document["extremes"]["max"]["s"]) == (20, 25)


def test_progress_is_told_while_a_statement_runs(suite: Suite) -> None:
    progress = suite.native.client.execute_with_progress(
        "SELECT sum(sipHash64(number)) FROM numbers(30000000) SETTINGS max_threads = 1"
    )
    reports = [rows for rows, _ in progress]
    assert reports == sorted(reports)
    assert reports[-1] == 30_000_000
    assert len(progress.get_result()) == 1


def test_many_clients_of_both_protocols_at_once(suite: Suite) -> None:
    table = suite.new_name()
    suite.plain.ask(f"CREATE TABLE {table} (who UInt8, n UInt32) ENGINE = MergeTree ORDER BY (who, n)")

    def work(who: int) -> Any:
        client: Client = list(CLIENTS.values())[who % 3](suite.target)
        with contextlib.closing(client):
            for start in range(0, 300, 100):
                rows = [(who, start + number) for number in range(100)]
                client.insert(table, ["who", "n"], ["UInt8", "UInt32"], rows)
            return [tuple(row) for row in client.rows(f"SELECT count(), sum(n) FROM {table} WHERE who = {who}")]

    with ThreadPoolExecutor(9) as pool:
        assert list(pool.map(work, range(9))) == [[(300, sum(range(300)))]] * 9
    suite.plain.ask(f"DROP TABLE {table} SYNC")


def test_external_tables_join_a_statement(suite: Suite) -> None:
    from clickhouse_connect.driver.external import ExternalData

    sql = "SELECT sum(x), groupArray(s) FROM (SELECT * FROM ext ORDER BY x)"
    external = [
        {
            "name": "ext",
            "structure": [("x", "Int32"), ("s", "String")],
            "data": [{"x": 1, "s": b"a"}, {"x": 2, "s": b"b"}],
        }
    ]
    assert suite.native.client.execute(sql, external_tables=external) == [(3, [b"a", b"b"])]
    data = ExternalData(file_name="ext", fmt="CSV", structure=["x Int32", "s String"], data=b"1,a\n2,b\n")
    assert suite.connect.client.query(sql, external_data=data).result_rows == [(3, ["a", "b"])]
    assert suite.native.rows("SELECT 42") == [(42,)]


def test_the_async_client_runs_statements_side_by_side(suite: Suite) -> None:
    import asyncio

    target = suite.target

    async def run() -> list[int]:
        async with await clickhouse_connect.get_async_client(
            host=target.host,
            port=target.http_port,
            username=target.user,
            password=target.password,
            database=target.database,
            autogenerate_session_id=False,
        ) as client:
            results = await asyncio.gather(*(client.query(f"SELECT {number}") for number in range(20)))
            return [result.result_rows[0][0] for result in results]

    assert asyncio.run(run()) == list(range(20))
