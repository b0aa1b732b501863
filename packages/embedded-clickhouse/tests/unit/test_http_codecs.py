from __future__ import annotations

import bz2
import lzma
import struct

import pytest

from clickhouse_testkit.codings import COMPRESS, COMPRESS_IN_FRAMES, DECOMPRESS, hadoop_snappy
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.codecs import Decoder, choose_encoding, encoder, request_method

_MIB = 1024 * 1024
_TEXTS = [b"", b"a", bytes(range(256)) * 40, b"x" * 100_000]
_ROWS = b"".join(b"%d,row %d\n" % (n, n * n) for n in range(3_000))


def _decoded(coding: str, body: bytes, size: int = 7) -> bytes:
    decoder = Decoder(coding)
    pieces = [piece for start in range(0, len(body), size) for piece in decoder.decode(body[start : start + size])]
    decoder.finish()
    assert all(pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("coding", sorted(COMPRESS))
def test_data_that_compresses_too_well_comes_in_pieces(coding: str) -> None:
    decoder = Decoder(coding)

    sizes = [len(piece) for piece in decoder.decode(COMPRESS[coding](bytes(64 * _MIB)))]

    decoder.finish()
    assert sum(sizes) == 64 * _MIB
    assert max(sizes) <= 9 * _MIB


@pytest.mark.parametrize("coding", sorted(COMPRESS_IN_FRAMES))
def test_frames_may_be_cut_and_joined_anywhere(coding: str) -> None:
    assert _decoded(coding, b"".join(COMPRESS[coding](text) for text in _TEXTS)) == b"".join(_TEXTS)


@pytest.mark.parametrize("coding", sorted(COMPRESS))
@pytest.mark.parametrize("text", _TEXTS, ids=len)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_body_may_be_cut_anywhere(coding: str, text: bytes, size: int) -> None:
    assert _decoded(coding, COMPRESS[coding](text), size) == text


@pytest.mark.parametrize("coding", sorted(COMPRESS))
def test_a_body_that_ends_early_is_an_error(coding: str) -> None:
    body = COMPRESS[coding](_ROWS)
    for end in (1, len(body) // 3, len(body) - 1):
        with pytest.raises(EngineError) as raised:
            _decoded(coding, body[:end])
        assert raised.value.code == 33
        assert coding in raised.value.message


@pytest.mark.parametrize("coding", sorted(COMPRESS))
def test_what_is_no_stream_of_the_method_is_an_error(coding: str) -> None:
    with pytest.raises(EngineError) as raised:
        _decoded(coding, b"1,plain text\n" * 100)
    assert raised.value.code == 117
    assert coding in raised.value.message


def test_bzip2_of_runs_comes_in_pieces() -> None:
    # Twice compressed, it makes a gigabyte of a few hundred bytes.
    body = bz2.compress(bytes(256 * _MIB))
    assert len(body) < 1000
    sizes = [len(piece) for piece in Decoder("bz2").decode(body)]
    assert (sum(sizes), max(sizes) <= 2 * _MIB) == (256 * _MIB, True)


def test_an_xz_stream_that_wants_gigabytes_of_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    body = lzma.compress(b"x" * 1000, filters=filters)
    with pytest.raises(EngineError) as raised:
        _decoded("xz", body)
    assert raised.value.code == 117


def test_streams_of_xz_may_have_padding_between_and_behind_them() -> None:
    body = lzma.compress(b"one,") + bytes(4) + lzma.compress(b"two") + bytes(8)
    assert _decoded("xz", body, 3) == b"one,two"
    with pytest.raises(EngineError):
        _decoded("xz", bytes(8) + body)


def test_nothing_may_stand_behind_a_stream_of_brotli() -> None:
    body = COMPRESS["br"](b"a")
    for size in (1, len(body), 2 * len(body)):
        with pytest.raises(EngineError) as raised:
            _decoded("br", body + body, size)
        assert raised.value.code == 117


class TestSnappy:
    # An identifier, and "abc" as it is behind its checksum: CRC-32C is 364b3fb7, rotated and added to 21f1576e.
    GOLDEN = b"\xff\x06\x00\x00sNaPpY" + b"\x01\x07\x00\x00" + bytes.fromhex("6e57f121") + b"abc"

    @pytest.mark.parametrize("size", [1, 5, 1000])
    @pytest.mark.parametrize("block_bytes", [1, 17, 100_000])
    def test_hadoops_blocks_are_read(self, size: int, block_bytes: int) -> None:
        assert _decoded("snappy", hadoop_snappy(_ROWS[:2000], block_bytes=block_bytes), size) == _ROWS[:2000]

    def test_hadoops_blocks_that_end_early_are_an_error(self) -> None:
        body = hadoop_snappy(_ROWS)
        for end in (2, 4, 6, len(body) - 1):
            with pytest.raises(EngineError) as raised:
                _decoded("snappy", body[:end])
            assert raised.value.code == 33

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(struct.pack(">II", 1000, 1 << 30), id="piece"),
            pytest.param(struct.pack(">I", 1 << 31), id="block"),
            # A piece says itself that it has 2 GiB of data.
            pytest.param(struct.pack(">II", 1000, 5) + b"\x80\x80\x80\x80\x08", id="data"),
        ],
    )
    def test_lengths_are_bounded(self, body: bytes) -> None:
        with pytest.raises(EngineError) as raised:
            _decoded("snappy", body)
        assert raised.value.code == 117

    def test_a_chunk_that_is_not_compressed_is_read(self) -> None:
        assert _decoded("snappy", self.GOLDEN) == b"abc"

    def test_checksums_and_types_of_chunks_are_looked_at(self) -> None:
        damaged = bytearray(self.GOLDEN)
        damaged[-1] ^= 1
        for body in (bytes(damaged), self.GOLDEN + b"\x02\x00\x00\x00", self.GOLDEN[:4] + b"SnApPy" + b"\x00" * 9):
            with pytest.raises(EngineError) as raised:
                _decoded("snappy", body, len(body))
            assert raised.value.code == 117

    def test_padding_is_passed_over(self) -> None:
        assert _decoded("snappy", self.GOLDEN + b"\xfe\x03\x00\x00abc" + self.GOLDEN) == b"abcabc"


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("gzip", "gzip"), ("gz", "gzip"), ("GZ", "gzip"), ("deflate", "deflate"), ("br", "br"), ("Brotli", "br")),
        *(("xz", "xz"), ("lzma", "xz"), ("LZMA", "xz"), ("zstd", "zstd"), ("zst", "zstd"), ("lz4", "lz4")),
        *(("bz2", "bz2"), ("snappy", "snappy"), (" gzip ", "gzip"), ("none", None), ("auto", None), ("", None)),
    ],
)
def test_names_are_those_of_a_server(name: str, method: str | None) -> None:
    assert request_method(name) == method


@pytest.mark.parametrize("coding", sorted(DECOMPRESS))
def test_replies_are_written_in_each_method(coding: str) -> None:
    stream = encoder(coding)
    body = b"".join(stream.encode(text) for text in _TEXTS if text) + stream.finish()
    assert DECOMPRESS[coding](body) == b"".join(_TEXTS)
    assert DECOMPRESS[coding](encoder(coding).finish()) == b""


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        *(("gzip, deflate, br, zstd", "zstd"), ("gzip, deflate, br", "br"), ("gzip, lz4", "lz4"), ("bz2, xz", "xz")),
        *(("snappy, gzip", "snappy"), ("deflate, gzip", "gzip"), ("br;q=0, bz2", "bz2"), ("identity", None)),
    ],
)
def test_replies_come_in_the_first_of_a_servers_methods_that_is_accepted(accepted: str, chosen: str | None) -> None:
    assert choose_encoding(accepted) == chosen
