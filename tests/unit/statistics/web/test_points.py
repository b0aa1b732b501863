"""The points of a scatter against what a page makes of the changes it is told."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxy.statistics.web.models import Points, ScatterName
from maxy.statistics.web.points import PointSet
from tests.realtime_support import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

LOADING, RESPONSE = ScatterName.LOADING_TIME, ScatterName.RESPONSE_TIME
FIELDS = {LOADING: "loading_time", RESPONSE: "intervaltime"}
Member = tuple[bytes, float]


def member(score: float = 5.0, *, loop: ScatterName = LOADING, value: Any = 120, **fields: Any) -> Member:
    return json.dumps({FIELDS[loop]: value, **fields}).encode(), score


def rows(points: Points) -> list[dict[str, Any]]:
    """Return a page's points one by one, without their numbers."""
    columns = points.model_dump()
    assert len({len(column) for column in columns.values()}) == 1
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def drawn(point: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in point.items() if name != "id")


class Browser:
    """A page that takes over what it is told."""

    def __init__(self) -> None:
        self.points: dict[int, tuple[Any, ...]] = {}

    def apply(self, added: Points, removed: Sequence[int]) -> None:
        for number in removed:
            self.points.pop(number, None)
        for point in rows(added):
            assert point["id"] not in self.points, "a number is used twice"
            self.points[point["id"]] = drawn(point)


GOOD = [
    member(1.0, value=1, device="a"),
    member(1.0, value=1, device="b"),
    member(2.5, value=3.5, device="c", os_type="iOS", page_id="home"),
    member(9.0, value=10_000, device="d", os_type=None, req_url="/a?b=c", com_type="5G", app_ver="1", device_model="x"),
    member(4.0, value=2, device="\U0001f389"),
]  # fmt: skip
BROKEN: list[Member] = [
    (b"", 1.0),
    (b"{", 1.0),
    (b"[]", 1.0),
    (b'"text"', 1.0),
    (b"null", 1.0),
    (b"12", 1.0),
    (b'{"intervaltime": 5}', 1.0),
    (b'{"loading_time": null}', 1.0),
    (b'{"loading_time": "slow"}', 1.0),
    (b'{"loading_time": []}', 1.0),
    (b'{"loading_time": NaN}', 1.0),
    (b'{"loading_time": 1e999}', 1.0),
    (b'{"loading_time": -Infinity}', 1.0),
    (b'{"loading_time": 1%b}' % (b"0" * 400), 1.0),
    (b"[" * 100_000, 1.0),
    (b"\xff\xfe\xfd", 1.0),
    (b'{"loading_time": 5}', float("inf")),
]
MEMBERS = st.lists(st.sampled_from([*GOOD, *BROKEN]), unique_by=lambda one: one[0], max_size=12)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(MEMBERS, max_size=6))
def test_a_page_that_applies_the_changes_has_the_members(steps: list[list[Member]]) -> None:
    points, browser = PointSet(LOADING), Browser()
    for members in steps:
        browser.apply(*points.replace(members))
        wanted = sorted(drawn(rows(alone(one))[0]) for one in members if one in GOOD) if members else []
        assert sorted(browser.points.values(), key=repr) == sorted(wanted, key=repr)
        # One who comes now is told the same.
        newcomer = Browser()
        newcomer.apply(points.points(), [])
        assert newcomer.points == browser.points


def alone(one: Member) -> Points:
    added, removed = PointSet(LOADING).replace([one])
    assert removed == []
    return added


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: repr(one)[:40])
def test_a_member_that_the_loop_has_not_written_is_left_out(broken: Member) -> None:
    points = PointSet(LOADING)
    added, removed = points.replace([broken, GOOD[0]])
    assert (len(added.id), removed) == (1, [])
    assert points.points() == added
    added.model_dump_json()


@pytest.mark.parametrize("loop", ScatterName)
def test_a_point_shows_what_the_loop_has_written(loop: ScatterName) -> None:
    fields = {"os_type": "iOS", "device_model": "m", "app_ver": "1.2", "com_type": "WiFi"}
    added, _ = PointSet(loop, count(7)).replace([member(17.0, loop=loop, value=250, req_url="/a", **fields)])
    assert rows(added) == [{"id": 7, "reg_dt_ms": 17, "value_ms": 250.0, "page": "/a", **fields}]


def test_a_point_that_comes_back_has_another_number() -> None:
    points = PointSet(LOADING)
    (first,) = points.replace(GOOD[:1])[0].id
    assert points.replace([])[1] == [first]
    (second,) = points.replace(GOOD[:1])[0].id
    assert second != first


def test_points_are_in_the_order_in_which_they_came_in() -> None:
    members = [member(float(score), device=score) for score in (5, 3, 9, 1)]
    points = PointSet(LOADING)
    assert points.replace(members)[0].reg_dt_ms == [1, 3, 5, 9]
    points.replace([*members, member(2.0)])
    assert points.points().reg_dt_ms == [1, 2, 3, 5, 9]


def test_long_and_odd_texts_are_shown_as_far_as_they_can_be() -> None:
    points, _ = PointSet(LOADING).replace(
        [(b'{"loading_time": 1, "page_id": "%b", "os_type": 7, "app_ver": "\\ud83c"}' % (b"x" * 1000), 1.0)]
    )
    assert (points.page, points.os_type, points.app_ver) == (["x" * 200], ["7"], ["?"])
    points.model_dump_json()


def test_a_page_without_an_id_is_shown_by_its_address() -> None:
    members = [member(float(score), page_id=name, req_url="/a") for score, name in enumerate([None, "", "home"])]
    assert PointSet(LOADING).replace(members)[0].page == ["/a", "/a", "home"]
