from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import lz4.frame
import pytest
import zstandard

from local.clickhouse.http_codecs import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB = 1024 * 1024
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", sorted(_COMPRESS))
def test_data_that_compresses_too_well_comes_in_pieces(coding: str) -> None:
    decoder = Decoder(coding)

    sizes = [len(piece) for piece in decoder.decode(_COMPRESS[coding](bytes(64 * _MIB)))]

    decoder.finish()
    assert sum(sizes) == 64 * _MIB
    assert max(sizes) <= 9 * _MIB


@pytest.mark.parametrize("coding", sorted(_COMPRESS))
def test_frames_may_be_cut_and_joined_anywhere(coding: str) -> None:
    texts = [b"", b"a", bytes(range(256)) * 40, b"x" * 100_000]
    body = b"".join(_COMPRESS[coding](text) for text in texts)
    decoder = Decoder(coding)

    pieces = [piece for start in range(0, len(body), 7) for piece in decoder.decode(body[start : start + 7])]

    decoder.finish()
    assert b"".join(pieces) == b"".join(texts)
    assert all(pieces)
