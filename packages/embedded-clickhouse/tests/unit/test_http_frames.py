from __future__ import annotations

import gzip

import pytest

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.body import Body
from embedded_clickhouse.http.frames import FrameEncoder, unframe
from embedded_clickhouse.native.compression import Method, compress

_TEXT = bytes(range(256)) * 5000


def frames(method: Method) -> bytes:
    return b"".join(compress(_TEXT, method))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("size", [7, 1000, 10_000_000])
def test_frames_are_read_wherever_they_are_cut(method: Method, size: int) -> None:
    assert b"".join(unframe(iter(pieces(frames(method), size)), len(_TEXT))) == _TEXT


def test_what_is_encoded_can_be_read() -> None:
    encoder = FrameEncoder()
    data = b"".join(encoder.encode(piece) for piece in pieces(_TEXT, 300_000)) + encoder.finish()
    assert b"".join(unframe(iter([data]), len(_TEXT))) == _TEXT


def test_no_frames_are_no_data() -> None:
    assert list(unframe(iter([]), 1)) == []
    assert list(unframe(iter([b"".join(compress(b"", Method.LZ4))]), 1)) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames(Method.LZ4)[:-1], 33),
        (frames(Method.LZ4)[:10], 33),
        (b"x" * 16 + frames(Method.LZ4)[16:], 271),
        (b"SELECT 1, 'which was never compressed by anybody at all'", 271),
        (frames(Method.NONE)[:21] + b"\xff\xff\xff\xff" + frames(Method.NONE)[25:], 271),
    ],
)
def test_damaged_frames_have_the_servers_code(data: bytes, code: int) -> None:
    with pytest.raises(EngineError) as raised:
        list(unframe(iter([data]), 10 * len(_TEXT)))
    assert raised.value.code == code


def test_a_frame_is_not_even_read_when_it_announces_too_much() -> None:
    head = next(iter(compress(_TEXT, Method.LZ4)))[:25]
    with pytest.raises(EngineError) as raised:
        list(unframe(iter([head]), 1000))
    assert raised.value.code == 307


def test_the_limit_is_for_all_frames_together() -> None:
    found = []
    with pytest.raises(EngineError) as raised:
        found.extend(unframe(iter([frames(Method.LZ4)]), len(_TEXT) - 1))
    assert raised.value.code == 307
    assert b"".join(found) == _TEXT[: 1 << 20]


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_is_counted_once_decompressed(encoding: str | None) -> None:
    data = gzip.compress(bytes(1000)) if encoding else bytes(1000)

    def body(limit: int) -> bytes:
        came = iter([data, b""])
        return b"".join(Body(lambda: next(came), encoding=encoding, max_bytes=limit))

    assert body(1000) == bytes(1000)
    with pytest.raises(EngineError) as raised:
        body(999)
    assert raised.value.code == 307
