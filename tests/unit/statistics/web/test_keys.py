"""Keys read back into the values they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxy.statistics.live.device import Device
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.live.page import Page
from maxy.statistics.web.live_store import SCATTERS, _triples
from maxy.valkey.keys import KeyTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "stats:realtime:"
DEVICE = KeyTemplate(Device.key_template, prefix=PREFIX, reserved=Device.reserved)
TEMPLATES = [
    DEVICE,
    KeyTemplate(Page.key_template, prefix=PREFIX, reserved=Page.reserved),
    KeyTemplate(LogMeter.key_template, prefix=PREFIX),
    *(KeyTemplate(loop.key_template, prefix=PREFIX) for loop in SCATTERS.values()),
]
NAMES = (
    st.text()
    | st.text(alphabet="ab:%3A25\n", max_size=8)
    | st.sampled_from([*Device.reserved, "page", "loop", "%74otallog", "%3A", "%", ":", "", "meta", "a\nb"])
)


@given(st.sampled_from(TEMPLATES), st.lists(NAMES, min_size=3, max_size=3))
@example(DEVICE, ["totallog", "1", "2"])
@example(DEVICE, ["%74otallog", "1", "2"])
def test_a_key_gives_back_what_it_was_made_from(template: KeyTemplate, values: list[str]) -> None:
    values = values[: len(template.columns)]
    (key,) = template.keys([[value] for value in values])
    assert template.values(key) == values


@given(st.lists(NAMES, min_size=3, max_size=3))
def test_no_key_of_a_device_is_taken_for_one_of_another_loop(values: list[str]) -> None:
    (key,) = DEVICE.keys([[value] for value in values])
    # A real server type is a number, which no other loop has in that place.
    others = [template.values(key) for template in TEMPLATES[2:]]
    assert others == [None] * len(others) or values[0] == "page"


@pytest.mark.parametrize("key", ["", "stats:realtime", "other:a:1:b", "stats:realtime:a:1", "stats:realtime:a:1:b:c"])
def test_a_key_of_another_kind_has_no_values(key: str) -> None:
    assert DEVICE.values(key) is None


def triples(keys: Sequence[bytes]) -> list[tuple[str, int, str]]:
    return list(_triples(DEVICE, keys))


def test_members_of_an_index_that_are_no_keys_of_ours_are_left_out() -> None:
    strange = [b"\xff\xfe", b"x", b"", PREFIX.encode() + b"a::b", PREFIX.encode() + b"a:-1:b"]
    numbers = ["1_0", " 1", "1.0", "9" * 5000, "\u0661"]
    strange += [f"{PREFIX}a:{number}:b".encode() for number in numbers]
    assert triples([*strange, f"{PREFIX}a:4294967295:b".encode()]) == [("a", 4294967295, "b")]
