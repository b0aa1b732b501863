"""Formats over HTTP, written and read back, and the compression of bodies in both directions."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from clickhouse_testkit.codings import ALIASES, COMPRESS, DECOMPRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_testkit.suite import Suite

_COLUMNS = "n UInt32, s String, f Nullable(Float64), a Array(String), d Date"
_ROWS: list[tuple[Any, ...]] = [
    (0, "", None, [], "1970-01-01"),
    (1, "tab\t newline\n quote' \" backslash\\ comma, 한글", 0.5, ["", "x,y", "o'k"], "2149-06-06"),
    (4294967295, "\\N", -1e300, ["NULL"], "2026-11-01"),
]


@pytest.fixture(scope="module")
def full(suite: Suite) -> Iterator[str]:
    """A table with the rows."""
    name = suite.new_name()
    suite.plain.ask(f"CREATE TABLE {name} ({_COLUMNS}) ENGINE = MergeTree ORDER BY n")
    data = "\n".join(json.dumps(dict(zip("nsfad", row, strict=True))) for row in _ROWS)
    assert suite.plain.data(f"INSERT INTO {name} FORMAT JSONEachRow", data).code is None
    yield name
    suite.plain.ask(f"DROP TABLE {name} SYNC")


@pytest.fixture
def empty(suite: Suite) -> Iterator[str]:
    """A table of the same columns without rows."""
    name = suite.new_name()
    suite.plain.ask(f"CREATE TABLE {name} ({_COLUMNS}) ENGINE = MergeTree ORDER BY n")
    yield name
    suite.plain.ask(f"DROP TABLE {name} SYNC")


@pytest.mark.parametrize(
    "fmt",
    [
        *("TabSeparated", "TSV", "TabSeparatedWithNames", "TSVWithNamesAndTypes", "TSKV"),
        *("CSV", "CSVWithNames", "CSVWithNamesAndTypes", "CustomSeparated", "Values", "LineAsString"),
        *("JSON", "JSONCompact", "JSONEachRow", "JSONCompactEachRow", "JSONCompactEachRowWithNamesAndTypes"),
        *("JSONColumns", "JSONStringsEachRow", "JSONObjectEachRow"),
        *("RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes", "Native", "MsgPack"),
        *("Parquet", "Arrow", "ArrowStream", "ORC", "Avro"),
    ],
)
def test_what_a_format_writes_it_reads_again(suite: Suite, full: str, empty: str, fmt: str) -> None:
    columns = "s" if fmt == "LineAsString" else "n, s, f, a, d"
    settings = {
        "output_format_json_quote_64bit_integers": 0,
        "output_format_arrow_string_as_string": 1,
        "output_format_avro_string_column_pattern": ".*",
    }
    where = "WHERE n = 4294967295" if fmt == "LineAsString" else ""
    # Some formats have no days, and ORC's writer takes the late ones of a Date for negative numbers.
    sent = {"Avro": "toUInt16(d) AS d", "MsgPack": "toUInt16(d) AS d", "ORC": "toDate32(d) AS d"}
    selected = columns.replace("d", sent.get(fmt, "d"))
    body = suite.plain.body(f"SELECT {selected} FROM {full} {where} ORDER BY n", fmt, **settings)
    reply = suite.plain.data(f"INSERT INTO {empty} ({columns}) FORMAT {fmt}", body)
    assert reply.code is None, reply.text
    expected = suite.plain.ask(f"SELECT {columns} FROM {full} {where} ORDER BY n")
    assert suite.plain.ask(f"SELECT {columns} FROM {empty} ORDER BY n") == expected


def test_text_formats_are_what_other_programs_read(suite: Suite, full: str) -> None:
    sql = f"SELECT n, s, f, d FROM {full} ORDER BY n"
    expected = [(n, s, f, d) for n, s, f, _, d in _ROWS]
    document = json.loads(suite.plain.body(sql, "JSON"))
    assert [tuple(row.values()) for row in document["data"]] == expected
    assert [column["name"] for column in document["meta"]] == list("nsfd")
    assert document["rows"] == len(_ROWS)
    lines = [json.loads(line) for line in suite.plain.body(sql, "JSONEachRow").splitlines()]
    assert [tuple(line.values()) for line in lines] == expected
    compact = json.loads(suite.plain.body(sql, "JSONCompact"))
    assert [tuple(row) for row in compact["data"]] == expected
    rows = list(csv.reader(io.StringIO(suite.plain.body(sql, "CSVWithNames").decode(), newline="")))
    assert rows[0] == list("nsfd")
    assert [(int(n), s, None if f == "\\N" else float(f), d) for n, s, f, d in rows[1:]] == expected


def test_arrow_and_parquet_are_what_other_programs_read_and_write(suite: Suite, full: str, empty: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sql = f"SELECT n, s, f, a FROM {full} ORDER BY n"
    expected = [dict(zip("nsfa", row, strict=False)) for row in _ROWS]
    with pa.ipc.open_stream(suite.plain.body(sql, "ArrowStream")) as stream:
        assert stream.read_all().to_pylist() == expected
    with pa.ipc.open_file(pa.BufferReader(suite.plain.body(sql, "Arrow"))) as file:
        assert file.read_all().to_pylist() == expected
    table = pq.read_table(pa.BufferReader(suite.plain.body(sql, "Parquet")))
    assert table.to_pylist() == expected
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert suite.plain.data(f"INSERT INTO {empty} (n, s, f, a) FORMAT Parquet", sink.getvalue()).code is None
    assert suite.plain.ask(f"SELECT n, s, f, a FROM {empty} ORDER BY n") == suite.plain.ask(sql)


def test_data_frames_and_arrow_of_the_client(suite: Suite, full: str, empty: str) -> None:
    table = suite.connect.client.query_arrow(f"SELECT n, s, f, a, d FROM {full} ORDER BY n", use_strings=True)
    assert table.column("n").to_pylist() == [row[0] for row in _ROWS]
    frame = suite.connect.client.query_df(f"SELECT n, s FROM {full} ORDER BY n")
    suite.connect.client.insert_df(empty, frame)
    assert suite.plain.ask(f"SELECT n, s FROM {empty} ORDER BY n") == suite.plain.ask(
        f"SELECT n, s FROM {full} ORDER BY n"
    )


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        ("TSV", b""),
        ("CSVWithNames", b'"n"\n'),
        ("JSONEachRow", b""),
        ("RowBinary", b""),
        ("RowBinaryWithNamesAndTypes", b"\x01\x01n\x06UInt64"),
        ("TSVWithNamesAndTypes", b"n\nUInt64\n"),
        ("Values", b""),
    ],
)
def test_a_result_without_rows(suite: Suite, fmt: str, expected: bytes) -> None:
    assert suite.plain.body("SELECT number AS n FROM numbers(0)", fmt) == expected


def test_the_format_is_the_statements_and_then_the_requests(suite: Suite) -> None:
    plain = suite.plain
    assert plain.ask("SELECT 'a'", default_format="CSV") == '"a"'
    assert plain.post("SELECT 'a'", headers={"X-ClickHouse-Format": "CSV"}).text == '"a"\n'
    assert plain.ask("SELECT 'a' FORMAT TSV", default_format="CSV") == "a"
    assert plain.post("SELECT 'a' FORMAT JSONEachRow").headers["x-clickhouse-format"] == "JSONEachRow"
    assert plain.post("SELECT 1 FORMAT NoSuchFormat").code == 73
    assert plain.post("SELECT 1", default_format="NoSuchFormat").code == 73


def test_data_may_follow_its_statement_or_come_apart_from_it(suite: Suite, empty: str) -> None:
    insert = f"INSERT INTO {empty} (n, s)"
    for reply in (
        suite.plain.post(f"{insert} VALUES (1, 'a;b'), (2, upper('c'));"),
        suite.plain.data(f"{insert} FORMAT CSV", "3,d\n"),
        suite.plain.post(f'{insert} FORMAT JSONEachRow {{"n": 4, "s": "e"}}'),
        suite.plain.post(f"{insert} FORMAT TSV\n5\tf\n"),
        suite.plain.data(f"{insert} VALUES (6, 'g'),", "(7, 'h')"),
        suite.plain.post(f"{insert} SELECT 8, 'i'"),
        suite.plain.post(f"{insert} SETTINGS max_threads = 1 VALUES (9, 'j')"),
    ):
        assert reply.code is None, reply.text
        assert reply.body == b""
    stored = suite.plain.ask(f"SELECT n, s FROM {empty} ORDER BY n")
    assert stored.splitlines() == [f"{index + 1}\t{text}" for index, text in enumerate(["a;b", "C", *"defghij"])]


# Compression.


@pytest.mark.parametrize("coding", sorted(COMPRESS))
@pytest.mark.parametrize("rows", [1, 50_000])
def test_an_insert_may_be_compressed(suite: Suite, empty: str, coding: str, rows: int) -> None:
    data = "".join(f"{number}\t{'x' * (number % 50)}\n" for number in range(rows)).encode()
    headers = {"Content-Encoding": coding}
    reply = suite.plain.data(f"INSERT INTO {empty} (n, s) FORMAT TSV", COMPRESS[coding](data), headers=headers)
    assert reply.code is None, reply.text
    expected = f"{rows}\t{sum(range(rows))}\t{sum(number % 50 for number in range(rows))}"
    assert suite.plain.ask(f"SELECT count(), sum(n), sum(length(s)) FROM {empty}") == expected


@pytest.mark.parametrize("coding", sorted(COMPRESS))
def test_a_statement_may_be_compressed(suite: Suite, coding: str) -> None:
    assert suite.plain.post(COMPRESS[coding](b"SELECT 'x'"), headers={"Content-Encoding": coding}).text == "x\n"


@pytest.mark.parametrize("name", [*sorted(COMPRESS), *sorted(ALIASES)])
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_a_body_is_decompressed_by_each_of_the_servers_own_names(
    suite: Suite, empty: str, name: str, spelled: Callable[[str], str]
) -> None:
    body = COMPRESS[ALIASES.get(name, name)](b"".join(b"%d\trow %d\n" % (n, n) for n in range(5_000)))
    headers = {"Content-Encoding": spelled(name)}
    reply = suite.plain.data(f"INSERT INTO {empty} (n, s) FORMAT TSV", body, headers=headers)
    assert reply.code is None, reply.text
    assert suite.plain.ask(f"SELECT count(), sum(n), max(s) FROM {empty}") == f"5000\t{sum(range(5_000))}\trow 999"


@pytest.mark.parametrize("name", ["none", "auto", ""])
def test_a_body_may_be_said_to_be_plain(suite: Suite, empty: str, name: str) -> None:
    reply = suite.plain.data(
        f"INSERT INTO {empty} (n, s) FORMAT TSV", b"7\tplain\n", headers={"Content-Encoding": name}
    )
    assert reply.code is None, reply.text
    assert suite.plain.ask(f"SELECT n, s FROM {empty}") == "7\tplain"


@pytest.mark.parametrize("name", ["lz", "NONE", "identity", "x-gzip", "gzip, br", "tar", "zip"])
def test_an_encoding_that_is_none_of_the_servers_is_refused(suite: Suite, empty: str, name: str) -> None:
    reply = suite.plain.data(
        f"INSERT INTO {empty} (n, s) FORMAT TSV", b"7\tplain\n", headers={"Content-Encoding": name}
    )
    assert (reply.status, reply.code) == (501, 48)
    assert name in reply.text
    assert suite.plain.ask(f"SELECT count() FROM {empty}") == "0"


@pytest.mark.parametrize("coding", sorted(COMPRESS))
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damaged_compressed_data_stores_nothing(suite: Suite, empty: str, coding: str, damage: str) -> None:
    body = COMPRESS[coding](b"".join(b"%d\t%d\n" % (number, number * 7919) for number in range(2000)))
    broken = body[: len(body) // 2] if damage == "cut" else b"\x00\x01\x02garbage" + body
    reply = suite.plain.data(f"INSERT INTO {empty} (n, s) FORMAT TSV", broken, headers={"Content-Encoding": coding})
    assert reply.code is not None
    assert reply.status >= 400
    assert suite.plain.ask(f"SELECT count() FROM {empty}") == "0"


@pytest.mark.parametrize("coding", sorted(DECOMPRESS))
@pytest.mark.parametrize("rows", [1, 200_000])
def test_a_result_is_compressed_when_both_sides_agree(suite: Suite, coding: str, rows: int) -> None:
    sql = f"SELECT number FROM numbers({rows})"
    headers = {"Accept-Encoding": coding}
    reply = suite.plain.post(sql, headers=headers, enable_http_compression=1)
    assert reply.headers["content-encoding"] == coding
    assert DECOMPRESS[coding](reply.body) == b"".join(b"%d\n" % number for number in range(rows))
    assert "content-encoding" not in suite.plain.post(sql, headers=headers, enable_http_compression=0).headers


@pytest.mark.parametrize("compression", [False, "lz4", "zstd", "gzip"])
def test_the_http_client_compresses_as_it_likes(suite: Suite, empty: str, compression: str | bool) -> None:
    import clickhouse_connect

    target = suite.target
    client = clickhouse_connect.get_client(
        host=target.host,
        port=target.http_port,
        username=target.user,
        password=target.password,
        database=target.database,
        compress=compression,
    )
    try:
        rows = [[number, f"row {number}" * 5] for number in range(20_000)]
        client.insert(empty, rows, column_names=["n", "s"])
        read = client.query(f"SELECT n, s FROM {empty} ORDER BY n").result_rows
        assert [list(row) for row in read] == rows
    finally:
        client.close()


@pytest.mark.parametrize("compression", ["lz4", "lz4hc", "zstd"])
def test_the_native_client_compresses_as_it_likes(
    suite: Suite, empty: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from clickhouse_testkit.target import NativeClient

    # The driver asks for the package of this name, which has the same two functions.
    monkeypatch.setitem(sys.modules, "zstd", zstandard)
    client = NativeClient(suite.target, compression=compression)
    try:
        rows = [(number, b"row %d" % number * 5) for number in range(20_000)]
        client.insert(empty, ["n", "s"], [], rows)
        method = {"network_compression_method": compression.removesuffix("hc").upper()}
        assert client.rows(f"SELECT n, s FROM {empty} ORDER BY n", method) == rows
    finally:
        client.close()
