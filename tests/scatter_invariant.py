"""What always holds of a scatter's keys, as ``maxy.statistics.live.scatter`` says it, read from Valkey byte by byte."""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from maxy.text import escaped
from tests.valkey_replies import as_bytes, scored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis

    from maxy.statistics.live.scatter.loop import ScatterLoop

BANDS = ("low", "normal", "slow")
# identity, arrival, pair, mark
_ADDED, _DISPLACED = struct.Struct("<QqiI"), struct.Struct("<Q")


class Noted(NamedTuple):
    """A point as the notes have it; ``key`` is that of its sorted set, behind the prefix."""

    key: str
    band: int
    arrival: int
    mark: int


def noted_points(notes: Iterable[bytes]) -> dict[int, Noted]:
    """Return the points whose last event is that they were added, by identity."""
    points: dict[int, Noted] = {}
    split = [(json.loads(head), body) for head, _, body in (note.partition(b"\n") for note in notes)]
    numbers = [head["sequence"] for head, _ in split]
    assert len(set(numbers)) == len(numbers), "two notes of one sequence number"
    for head, body in sorted(split, key=lambda note: note[0]["sequence"]):
        end = head["added"] * _ADDED.size
        names = [f"{escaped(package)}:{server_type}" for package, server_type in head["keys"]]
        for identity, arrival, pair, mark in _ADDED.iter_unpack(body[:end]):
            number, band = divmod(pair, len(BANDS))
            points[identity] = Noted(names[number], band, arrival, mark)
        for (identity,) in _DISPLACED.iter_unpack(body[end:]):
            points.pop(identity, None)
    return points


def check_invariant(
    client: redis.Redis,
    loop: ScatterLoop,
    *,
    prefix: str,
    cutoff_ms: int,
    is_finished: bool,
    caps: Mapping[str, int] | None = None,
) -> None:
    """Check what holds after a step; where there is no state, nothing is promised.

    :param client: returns bytes.
    :param loop: the copy that ticked last.
    :param prefix: of the sorted sets' keys.
    :param cutoff_ms: a window before the newest tick, good or not.
    :param is_finished: whether that tick has ended well; then nothing old is left, and memory agrees too.
    :param caps: of the bands.
    """
    packed = client.get(loop.own_key("state"))
    if packed is None:
        return
    state = json.loads(packed)
    assert state["cutoff_ms"] <= cutoff_ms
    noted = {
        identity: point
        for identity, point in noted_points(map(as_bytes, client.zrange(loop.own_key("notes"), 0, -1))).items()
        if point.arrival >= cutoff_ms
    }
    sets = {
        key.decode("utf-8", "surrogateescape").removeprefix(prefix): scored(
            client.zrange(key, 0, -1, withscores=True), bytes
        )
        for key in client.scan_iter(match=f"{prefix}*", count=1000)
        if not key.endswith(b":meta")
    }
    shown = Counter(
        (key, int(score), zlib.crc32(text))
        for key, members in sets.items()
        for text, score in members
        if score >= cutoff_ms
    )
    assert shown == Counter((point.key, point.arrival, point.mark) for point in noted.values())
    by_band = Counter((point.key, BANDS[point.band]) for point in noted.values())
    for (_, band), number in by_band.items():
        assert number <= (caps or {}).get(band, number)
    if not is_finished:
        return
    assert not [score for members in sets.values() for _, score in members if score < cutoff_ms]
    assert state["cutoff_ms"] == cutoff_ms
    assert state["points"] == len(noted)
    for key in sets:
        meta = client.hgetall(f"{prefix}{key}:meta".encode("utf-8", "surrogateescape"))
        assert [int(meta[f"points_{band}".encode()]) for band in BANDS] == [by_band[key, band] for band in BANDS]
    _check_memory(loop, noted)


def _check_memory(loop: ScatterLoop, noted: Mapping[int, Noted]) -> None:
    if loop._points is None:
        return
    sample = loop._points.sample
    columns = (sample.entries.identity, sample.entries.arrival, sample.entries.pair, sample.entries.mark)
    remembered = {}
    for identity, arrival, pair, mark in zip(*(column.tolist() for column in columns), strict=True):
        number, band = divmod(pair, len(BANDS))
        package, server_type = sample.keys[number]
        name = f"{escaped(package.decode('utf-8', 'surrogateescape'))}:{server_type}"
        remembered[identity] = Noted(name, band, arrival, mark)
    assert remembered == noted
    assert list(remembered) == sorted(remembered)
    assert sample.counts().sum() == len(remembered)
