"""The parsers of what clients send, given valid messages and damaged ones, without a server.

Whatever the bytes are, a parser gives a value or one of the errors that its callers turn into an answer; it takes no
memory and no time that the input does not account for.
"""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from functools import partial
from typing import TYPE_CHECKING

import lz4.block
import lz4.frame
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickhouse_testkit.fuzzing import (
    BLOCKS,
    COLUMNS,
    FORM,
    FORM_TYPE,
    HELLO,
    NUMBERS,
    any_of,
    block_message,
    effort,
    fuzz_settings,
    query_message,
    sealed,
)
from embedded_clickhouse.blocks import (
    BLOCK_INFO,
    UnsupportedTypeError,
    blocks_of,
    check_type,
    read_block,
    read_block_info,
    retype_block,
    source_of,
)
from embedded_clickhouse.config import Credentials
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.body import Body
from embedded_clickhouse.http.codecs import Decoder, choose_encoding
from embedded_clickhouse.http.external import _split_types
from embedded_clickhouse.http.multipart import MultipartReader, boundary_of
from embedded_clickhouse.http.request import Request
from embedded_clickhouse.native.compression import (
    CompressionError,
    FrameSource,
    Method,
    compress,
    read_frame,
)
from embedded_clickhouse.native.protocol import REVISION, read_hello, read_query
from embedded_clickhouse.native.sample import _column_names
from embedded_clickhouse.sql import insert_from_file, parse_statement
from embedded_clickhouse.wire import (
    ByteSource,
    IncompleteInput,
    MalformedInput,
    OversizedInput,
    encode_varint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_WIRE_ERRORS = (IncompleteInput, OversizedInput, MalformedInput)
_BLOCK_ERRORS = (*_WIRE_ERRORS, UnsupportedTypeError)
_STATEMENT_CODES = {42, 48, 62, 358}
_REQUEST_CODES = {36, 48, 374, 516}
_BODY_CODES = {33, 117}
_FORM_CODES = {33, 36}
_FRAMED_CODES = {33, 271, 307}
# What is taken for an input of a few kilobytes, whatever it announces.
_MEMORY_BYTES = 32 << 20
# What grows with the square of the input takes several times as long.
_CPU_SECONDS = 2.0
_fuzzed = fuzz_settings(150)


# Valid messages.

_FRAMES = [b"".join(compress(BLOCK_INFO + block, method)) for block in BLOCKS[-3:] for method in Method]
_STATEMENTS = [
    b"SELECT 'it''s \\' ; --', `a``b`, \"c\" /* x */ FROM t WHERE a IN (1, 2) FORMAT JSON SETTINGS max_threads = 1;",
    b"INSERT INTO `d`.t (a, `b c`) SETTINGS x = 1, y = 'z' FORMAT CSV\n1,2\n",
    b"INSERT INTO TABLE FUNCTION file('a', 'CSV') PARTITION BY a VALUES (1)",
    b"INSERT INTO {t:Identifier} VALUES (1, 'a'), (2, 'b')",
    b"INSERT INTO t SELECT $tag$ ' $tag$ FROM s",
    b"INSERT INTO t SELECT a, (b) FROM input('a Int8, b String') SETTINGS x = 1 FORMAT CSV\n1,'",
    b"KILL QUERY WHERE query_id = 'x' SYNC FORMAT TSV",
    b"WITH 1 AS x SELECT x INTO OUTFILE 'f'; SELECT 2",
]
_TYPES = [type_name.encode() for _, type_name, _ in COLUMNS] + [
    b"Array(Tuple(Nested(a UInt8, b Map(String, LowCardinality(Nullable(String))))))",
    b"DateTime64(9, 'Asia/Seoul')",
]
_QUERY_STRINGS = [
    b"query=SELECT+%7Ba%3AUInt8%7D&param_a=1&database=d&session_id=s&session_timeout=60&session_check=1",
    b"query=INSERT%20INTO%20t%20VALUES&query_id=%ED%95%9C&max_threads=1&client_protocol_version=54453&user=u&password=p",
]
_AUTHORIZATIONS = [b"Basic dGVzdGVyOndvcmQ=", b"Bearer x", b"Basic dGVzdGVy"]
_FORMS = [
    FORM,
    FORM.replace(b'name="param_a"', b'name="ext"; filename="x"'),
    FORM.replace(b"Content-Type: text/plain", b"Content-Transfer-Encoding: base64"),
    FORM.replace(b"Content-Type: text/plain", b"Content-Type: multipart/mixed; boundary=inner"),
]
_PLAIN = b"1\tabc\n" * 50
_PACKED = {
    "gzip": zlib.compress(_PLAIN, wbits=31),
    "deflate": zlib.compress(_PLAIN),
    "lz4": lz4.frame.compress(_PLAIN),
    "zstd": zstandard.compress(_PLAIN),
}


# The parsers, each as a function of bytes that raises only what must not be.


def _expect(error: EngineError, codes: set[int]) -> None:
    if error.code not in codes:
        raise AssertionError(f"an error of another kind: {error}")


def parse_block(data: bytes) -> None:
    source = source_of(data)
    try:
        read_block_info(source)
        block = read_block(source)
    except _BLOCK_ERRORS:
        return
    assert block.body in data


def parse_blocks(data: bytes) -> None:
    try:
        assert b"".join(blocks_of(data)) == data
        retype_block(data, {0: "DateTime('UTC')"})
    except _BLOCK_ERRORS:
        return


def parse_frames(data: bytes) -> None:
    frames = FrameSource(source_of(data))
    try:
        read_block_info(frames)
        read_block(frames)
    except (*_BLOCK_ERRORS, CompressionError):
        return


def parse_sealed_frame(data: bytes) -> None:
    try:
        read_frame(source_of(sealed(data)))
    except (*_WIRE_ERRORS, CompressionError):
        return


def parse_hello(data: bytes) -> None:
    try:
        hello = read_hello(source_of(data))
    except _WIRE_ERRORS:
        return
    assert hello.revision <= REVISION
    # The first thing that is done with it.
    assert Credentials("tester", "word").check(hello.user, hello.password) == (
        (hello.user, hello.password) == ("tester", "word")
    )


def parse_query(data: bytes) -> None:
    for revision in (54429, REVISION):
        try:
            assert read_query(source_of(data), revision).sql in data
        except _WIRE_ERRORS:
            continue


def parse_type(data: bytes) -> None:
    try:
        check_type(data.decode("utf-8", "surrogateescape"))
    except (MalformedInput, UnsupportedTypeError):
        return


def parse_sql(data: bytes) -> None:
    try:
        statement = parse_statement(data)
    except EngineError as error:
        _expect(error, _STATEMENT_CODES)
        return
    if statement.insert is not None:
        from_file = insert_from_file(statement.insert.sql, "/spool/f", "Native")
        if statement.insert.structure is None:
            assert from_file.endswith(b" FORMAT Native")
        else:
            assert b"file('/spool/f', 'Native', " + statement.insert.structure + b", 'none')" in from_file


def _read_request(request: Request) -> None:
    for name in ("account", "database", "default_format", "query_id", "session_timeout", "protocol_version"):
        try:
            getattr(request, name)
        except EngineError as error:
            _expect(error, _REQUEST_CODES)
    request.flag("session_check")
    for text in (*request.parameters, *request.parameters.values(), *request.settings, *request.options.values()):
        # What is no text would fail on its way into the engine.
        text.encode()


def _parse_request(query_string: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    try:
        request = Request.parse({"method": "POST", "headers": headers, "query_string": query_string})
    except EngineError as error:
        _expect(error, _REQUEST_CODES)
        return
    _read_request(request)


def parse_url(data: bytes) -> None:
    _parse_request(data, [])


def parse_authorization(data: bytes) -> None:
    _parse_request(b"", [(b"authorization", data)])


def _parse_form(content_type: bytes, form: bytes) -> None:
    pieces = iter([form[start : start + 50] for start in range(0, len(form), 50)])
    try:
        parts = MultipartReader(pieces, boundary_of(content_type.decode("latin-1"))).parts()
        contents = [piece for part in parts for piece in part.pieces]
    except EngineError as error:
        _expect(error, _FORM_CODES)
        return
    assert all(piece in form for piece in contents)


def parse_form(data: bytes) -> None:
    _parse_form(FORM_TYPE, data)


def parse_form_type(data: bytes) -> None:
    _parse_form(b"multipart/form-data;" + data, FORM)


def parse_framed_body(data: bytes) -> None:
    pieces = iter([data])
    try:
        for piece in Body(lambda: next(pieces, b""), is_framed=True, max_bytes=1 << 20):
            assert piece
    except EngineError as error:
        _expect(error, _FRAMED_CODES)


def _parse_body(encoding: str) -> Callable[[bytes], None]:
    def parse(data: bytes) -> None:
        decoder = Decoder(encoding)
        try:
            for piece in decoder.decode(data):
                assert 0 < len(piece) <= _MEMORY_BYTES
            decoder.finish()
        except EngineError as error:
            _expect(error, _BODY_CODES)

    return parse


def parse_accepted(data: bytes) -> None:
    assert choose_encoding(data.decode("latin-1")) in {None, *_PACKED}


PARSERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "block": (parse_block, [BLOCK_INFO + block for block in BLOCKS]),
    "blocks": (parse_blocks, [*BLOCKS, BLOCKS[0] + BLOCKS[1]]),
    "frames": (parse_frames, _FRAMES),
    "sealed frame": (parse_sealed_frame, [frame[16:] for frame in _FRAMES]),
    "hello": (parse_hello, [HELLO]),
    "query": (parse_query, [query_message("SELECT 1"), query_message("INSERT INTO t VALUES", compressed=True)]),
    "type": (parse_type, _TYPES),
    "statement": (parse_sql, _STATEMENTS),
    "URL": (parse_url, _QUERY_STRINGS),
    "authorization": (parse_authorization, _AUTHORIZATIONS),
    "form": (parse_form, _FORMS),
    "type of a form": (parse_form_type, [b" boundary=limit", b" boundary*=utf-8''limit; charset=x"]),
    "framed body": (parse_framed_body, _FRAMES),
    "accepted encodings": (parse_accepted, [b"gzip;q=0.5, zstd", b"*"]),
    **{f"{name} body": (_parse_body(name), [packed]) for name, packed in _PACKED.items()},
}


@pytest.mark.parametrize("parser", PARSERS)
@given(data=st.data())
@_fuzzed
def test_any_bytes_give_a_value_or_a_documented_error(parser: str, data: st.DataObject) -> None:
    parse, messages = PARSERS[parser]
    parse(data.draw(any_of(messages)))


@pytest.mark.parametrize("parser", PARSERS)
def test_a_message_cut_anywhere_gives_a_value_or_a_documented_error(parser: str) -> None:
    parse, messages = PARSERS[parser]
    for message in messages:
        for end in range(len(message)):
            parse(message[:end])


_TYPE_NAMES = st.recursive(
    st.sampled_from(
        [
            "UInt8",
            "String",
            "Point",
            "Nothing",
            "FixedString(2)",
            "Decimal(9, 1)",
            "Enum8('(' = 1)",
            "JSON",
            "",
            "(",
            "'",
        ]
    ),
    lambda inner: st.builds(
        lambda family, arguments: f"{family}({', '.join(arguments)})",
        st.sampled_from(["Array", "Nullable", "LowCardinality", "Tuple", "Map", "Nested", "SimpleAggregateFunction"]),
        st.lists(st.one_of(inner, inner.map("a {}".format)), max_size=3),
    ),
    max_leaves=8,
)


@given(_TYPE_NAMES, NUMBERS.filter(bool), st.binary(max_size=64))
@example("Array(Map())", (1 << 64) - 1, b"")
@_fuzzed
def test_a_block_of_any_type_is_a_value_or_a_documented_error(type_name: str, rows: int, values: bytes) -> None:
    parse_blocks(block_message([("c", type_name, values)], rows))


@given(st.sampled_from([*_FRAMES, *BLOCKS, HELLO, query_message("SELECT 1")]), st.integers(1, 5))
@settings(max_examples=effort(50), deadline=None)
def test_drops_of_a_message_are_as_good_as_the_whole(message: bytes, size: int) -> None:
    drops = iter([message[start : start + size] for start in range(0, len(message), size)])
    source = ByteSource(lambda: next(drops, b""))
    assert source.take(len(message)) == message
    assert source.exhausted()


# Known ways to ask for more than one gives.


@pytest.mark.parametrize(
    ("parser", "message"),
    [
        pytest.param(
            parse_type,
            b"SimpleAggregateFunction()",
            id="an aggregate of nothing",
        ),
        pytest.param(
            parse_type,
            b"FixedString(" + b"9" * 5000 + b")",
            id="a width of 5,000 digits",
        ),
        pytest.param(
            parse_type,
            b"Decimal(\x1d09, y)",
            id="a number behind a separator",
        ),
        pytest.param(
            parse_type,
            b"Decimal(" + b"9" * 5000 + b", 1)",
            id="a precision of 5,000 digits",
        ),
        pytest.param(
            parse_url,
            b"client_protocol_version=" + b"9" * 5000,
            id="a revision of 5,000 digits",
        ),
        pytest.param(
            parse_url,
            b"param_%FF=1",
            id="a parameter's name that is no text",
        ),
        pytest.param(
            parse_authorization,
            b"Basic \xff\xff",
            id="an account that is no base64",
        ),
        pytest.param(
            parse_hello,
            HELLO.replace(b"tester", b"test\xff\xff"),
            id="a user that is no text",
        ),
        pytest.param(
            parse_form,
            FORM.replace(b'name="param_a"', b"name*=\x00''a"),
            id="a field's name in an encoding that is no name",
        ),
    ],
)
def test_strange_messages_give_a_value_or_a_documented_error(parser: Callable[[bytes], None], message: bytes) -> None:
    parser(message)


def _parse_types(message: bytes) -> None:
    _split_types(message.decode())


def _frame_head(method: int, packed: bytes, size: int) -> bytes:
    return struct.pack("<BII", method, 9 + len(packed), size) + packed


@pytest.mark.parametrize(
    ("parser", "message"),
    [
        pytest.param(parse_block, BLOCK_INFO + b"\x01\x01\x01c\x06String" + encode_varint(1 << 29), id="a long string"),
        pytest.param(parse_block, BLOCK_INFO + b"\x01" + encode_varint(1 << 60) + b"\x01c\x05UInt8", id="many rows"),
        pytest.param(parse_block, BLOCK_INFO + encode_varint(1 << 60) + b"\x00", id="many columns"),
        pytest.param(parse_hello, b"\x00" + encode_varint(1 << 40), id="a long name"),
        pytest.param(parse_query, encode_varint(1 << 40), id="a long query id"),
        pytest.param(parse_sealed_frame, _frame_head(0x02, b"", 1 << 30), id="a plain frame"),
        pytest.param(
            parse_sealed_frame,
            _frame_head(0x82, b"\x10a", 1 << 30),
            id="an LZ4 frame",
        ),
        pytest.param(
            parse_sealed_frame,
            _frame_head(0x90, b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00", 1 << 30),
            id="a ZSTD frame",
        ),
        pytest.param(
            parse_sql,
            b"SELECT '" + b"a" * 500_000 + b"'",
            id="a long literal",
        ),
        pytest.param(
            parse_sql,
            b"SELECT `" + b"a" * 500_000 + b"`",
            id="a long name in a statement",
        ),
    ],
)
def test_memory_is_not_taken_for_what_is_only_announced(parser: Callable[[bytes], None], message: bytes) -> None:
    _check_memory(parser, message)


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        pytest.param("zstd", zstandard.compress, id="a ZSTD body of zeros"),
        pytest.param("gzip", partial(zlib.compress, wbits=31), id="a gzip body of zeros"),
        pytest.param("lz4", lz4.frame.compress, id="an LZ4 body of zeros"),
    ],
)
def test_memory_is_not_taken_for_what_is_packed(coding: str, pack: Callable[[bytes], bytes]) -> None:
    _check_memory(_parse_body(coding), pack(bytes(64 << 20)))


def _check_memory(parser: Callable[[bytes], None], message: bytes) -> None:
    tracemalloc.start()
    try:
        parser(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < _MEMORY_BYTES


@pytest.mark.parametrize(
    ("parser", "message"),
    [
        pytest.param(
            parse_sql,
            b"SELECT " + b"'\\" * 20_000,
            id="quotes that never end",
        ),
        pytest.param(
            parse_sql,
            b"SELECT " + b"`\\" * 20_000,
            id="quoted names that never end",
        ),
        pytest.param(
            parse_sql,
            b"SELECT " + b"".join(b"$a%d" % number for number in range(20_000)),
            id="heredocs that never end",
        ),
        pytest.param(parse_sql, b"SELECT " + b"/*" * 6_000, id="comments that never end"),
        pytest.param(parse_sql, b"SELECT " + b"(" * 24_000, id="brackets that never end"),
        pytest.param(
            parse_type,
            b"Tuple(" + b"`\\" * 20_000 + b")",
            id="names of elements that never end",
        ),
        pytest.param(
            parse_type,
            b"Enum8(" + b"'\\" * 20_000 + b")",
            id="names of an enumeration that never end",
        ),
        pytest.param(_column_names, b"(" + b"a" * 60 + b"*)", id="a list of more than names"),
        pytest.param(_parse_types, b"'\\" * 20_000, id="types of an external table that never end"),
        pytest.param(parse_type, b"Tuple(" * 60 + b"a UInt8, " * 2000 + b")" * 60, id="a long type in many brackets"),
        pytest.param(parse_url, b"&".join(b"a%d=1" % number for number in range(6000)), id="many parameters"),
        pytest.param(parse_form, FORM[:-11] + FORM[:-11] * 200 + b"--limit--\r\n", id="many fields"),
    ],
)
def test_a_few_kilobytes_take_no_time(parser: Callable[[bytes], None], message: bytes) -> None:
    began = time.thread_time()
    parser(message)
    assert time.thread_time() - began < _CPU_SECONDS
