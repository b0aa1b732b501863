from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.external import _split_types
from embedded_clickhouse.http.multipart import MultipartReader, boundary_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOUNDARY = b"sep"


def form(*contents: bytes) -> bytes:
    parts = [
        b'--sep\r\nContent-Disposition: form-data; name="p%d"\r\n\r\n%s\r\n' % (number, data)
        for number, data in enumerate(contents)
    ]
    return b"".join(parts) + b"--sep--\r\n"


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(data: bytes, size: int = 1000) -> list[tuple[str | None, bool, bytes]]:
    reader = MultipartReader(cut(data, size), _BOUNDARY)
    return [(part.name, part.is_file, b"".join(part.pieces)) for part in reader.parts()]


@given(
    contents=st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n--se", b"--sep", b"\r\n", b"\r\n--sex\r\n", b""]))
    ),
    size=st.integers(1, 50),
)
def test_parts_come_back_whole_wherever_the_body_is_cut(contents: list[bytes], size: int) -> None:
    contents = [data for data in contents if b"\r\n--sep" not in b"\r\n" + data]
    expected = [(f"p{number}", False, data) for number, data in enumerate(contents)]
    assert read(form(*contents), size) == expected


def test_parts_that_are_not_read_are_passed_over() -> None:
    reader = MultipartReader(cut(form(b"a" * 100, b"b"), 9), _BOUNDARY)
    assert [part.name for part in reader.parts()] == ["p0", "p1"]


def test_a_file_is_what_has_a_file_name() -> None:
    head = b'Content-Disposition: form-data; name="x"; filename=""\r\nContent-Type: text/plain'
    assert read(b"--sep\r\n" + head + b"\r\n\r\n1\r\n--sep--") == [("x", True, b"1")]


def test_names_may_be_in_any_language_or_missing() -> None:
    body = '--sep\r\nContent-Disposition: form-data; name="이름"\r\n\r\n1\r\n--sep\r\n\r\n2\r\n--sep--'.encode()
    assert read(body) == [("이름", False, b"1"), (None, False, b"2")]


def test_text_around_the_parts_is_ignored() -> None:
    assert read(b"preamble\r\n" + form(b"1") + b"epilogue" * 1000) == [("p0", False, b"1")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 33),
        (b"no form at all", 33),
        (form(b"1")[:-4], 33),
        (b"--sep\r\nContent-Disposition: form-data; name=", 33),
        (b"--sep\r\n" + b"x" * 200_000, 36),
    ],
)
def test_a_broken_form_is_an_error(body: bytes, code: int) -> None:
    with pytest.raises(EngineError) as raised:
        read(body)
    assert raised.value.code == code


def test_the_boundary_must_be_named() -> None:
    assert boundary_of('multipart/form-data; charset=utf-8; boundary="a b"') == b"a b"
    with pytest.raises(EngineError, match="names no boundary"):
        boundary_of("multipart/form-data")


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("UInt8", ["UInt8"]),
        ("UInt8, String", ["UInt8", "String"]),
        ("Tuple(a UInt8, b Map(String, UInt8)),UInt8", ["Tuple(a UInt8, b Map(String, UInt8))", "UInt8"]),
        (r"Enum8('a,b)' = 1, '\'(' = 2),String", [r"Enum8('a,b)' = 1, '\'(' = 2)", "String"]),
    ],
)
def test_a_list_of_types_is_split_at_its_own_commas_only(types: str, expected: list[str]) -> None:
    assert _split_types(types) == expected
