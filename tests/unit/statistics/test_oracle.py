"""The independent computation, against figures worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from tests.oracle import expected_statistics, written_name

DAY = date(2026, 11, 20)
INSTALL, START, PAGE = 1048597, 1048580, 1048592

_numbers = count()


def page(at: str, **values: Any) -> dict[str, Any]:
    """A page_flow row; `at` is in UTC. The key is a new one unless sum_mem_usage is given."""
    instant = datetime.fromisoformat(at).replace(tzinfo=UTC)
    row = {
        "device_id": "d1",
        "page_start_tm": int(instant.timestamp() * 1000),
        "page_start_tm_dt": instant.replace(microsecond=0),
        "sum_mem_usage": next(_numbers),
        "package_nm": "shop",
        "server_type": 0,
        "os_type": "Web",
        "log_type": PAGE,
    }
    metrics = ("crash_count", "error_count", "js_error_count", "log_count", "intervaltime", "lcp", "ttfb", "fcp", "inp")
    return row | dict.fromkeys(metrics) | values


def seen(day: date, **values: Any) -> dict[str, Any]:
    """A history row."""
    row = {"log_date": day, "package_nm": "shop", "server_type": 0, "os_type": "Web", "device_id": "d1"}
    return row | {"visit_cnt": 1, "install_cnt": 0, "login_cnt": 0} | values


def test_page_figures_are_sums_and_averages_over_present_values() -> None:
    rows = [
        page("2026-11-20T01:00", error_count=2, lcp=100.0, intervaltime=10),
        page("2026-11-20T02:00", error_count=None, lcp=None, intervaltime=20),
        page("2026-11-20T03:00", error_count=1, lcp=400.0, intervaltime=30, log_count=7),
    ]
    expected = expected_statistics(rows, [], stat_date=DAY, timezone="UTC").by_key
    assert expected == {
        ("shop", 0, "Web"): {
            "visit": 0,
            "install": 0,
            "login": 0,
            "dau": 0,
            "revisit_7d": 0,
            "mau": 0,
            "crash_count": 0,
            "error_count": 3,
            "js_error_count": 0,
            "log_count": 7,
            "intervaltime_avg": 20.0,
            "lcp_avg": 250.0,
            "ttfb_avg": 0.0,
            "fcp_avg": 0.0,
            "inp_avg": 0.0,
            "pv": 3,
        }
    }


def test_a_repeated_delivery_counts_once_and_a_differing_key_counts_apart() -> None:
    first = page("2026-11-20T01:00", crash_count=1)
    rows = [first, dict(first), first | {"device_id": "d2"}, first | {"sum_mem_usage": -1}]
    metrics = expected_statistics(rows, [], stat_date=DAY, timezone="UTC").by_key["shop", 0, "Web"]
    assert (metrics["pv"], metrics["crash_count"]) == (3, 3)


def test_device_figures_look_back_seven_and_thirty_days() -> None:
    rows = [
        # today and a week before
        page("2026-11-20T10:00", device_id="weekly", log_type=START),
        page("2026-11-13T10:00", device_id="weekly", log_type=START),
        # today and eight days before: no revisit
        page("2026-11-20T11:00", device_id="eighth", log_type=START),
        page("2026-11-12T11:00", device_id="eighth", log_type=START),
        # new today, seen twice
        page("2026-11-20T12:00", device_id="new", log_type=INSTALL),
        page("2026-11-20T12:01", device_id="new", log_type=START),
        # the window's first day, and the day before it
        page("2026-10-22T12:00", device_id="month", log_type=START),
        page("2026-10-21T12:00", device_id="gone", log_type=START),
        # a page alone does not make a device seen
        page("2026-11-20T13:00", device_id="page only"),
    ]
    metrics = expected_statistics(rows, [], stat_date=DAY, timezone="UTC").by_key["shop", 0, "Web"]
    assert (metrics["dau"], metrics["revisit_7d"], metrics["mau"], metrics["pv"]) == (3, 1, 4, 5)


def test_the_historys_counters_are_summed_as_they_stand() -> None:
    history = [
        seen(DAY, visit_cnt=3, install_cnt=1, login_cnt=2),
        seen(DAY, visit_cnt=3, install_cnt=1),
        seen(date(2026, 11, 19), visit_cnt=50),
    ]
    metrics = expected_statistics([], history, stat_date=DAY, timezone="UTC").by_key["shop", 0, "Web"]
    assert (metrics["visit"], metrics["install"], metrics["login"]) == (6, 2, 2)


@pytest.mark.parametrize(("last_seen", "has_row"), [(date(2026, 10, 22), True), (date(2026, 10, 21), False)])
def test_a_key_has_a_row_when_it_was_seen_in_the_thirty_days(last_seen: date, has_row: bool) -> None:
    at = f"{last_seen}T12:00"
    rows = [page(at, log_type=START)]
    by_key = expected_statistics(rows, [seen(last_seen)], stat_date=DAY, timezone="UTC").by_key
    assert [(key, metrics["dau"], metrics["mau"], metrics["pv"]) for key, metrics in by_key.items()] == (
        [(("shop", 0, "Web"), 0, 1, 0)] if has_row else []
    )


def test_missing_dimensions_are_left_out_and_counted() -> None:
    rows = [
        page("2026-11-20T01:00", package_nm=None),
        page("2026-11-20T02:00", package_nm=""),
        page("2026-11-20T03:00", os_type="  "),
        page("2026-11-20T04:00", server_type=None, log_type=START),
        page("2026-11-19T04:00", package_nm=None),
        page("2026-11-20T05:00", package_nm=" padded "),
    ]
    history = [seen(date(2026, 11, 1), package_nm="", server_type=1)]
    expected = expected_statistics(rows, history, stat_date=DAY, timezone="UTC")
    assert list(expected.by_key) == [(" padded ", 0, "Web")]
    assert expected.left_out_rows == 4
    assert expected.left_out_keys == {(None, 0, "Web"), ("shop", 0, None), ("shop", None, "Web"), (None, 1, "Web")}


def test_names_are_written_by_one_rule() -> None:
    assert written_name(b"bad\xff\xfe.app") == "bad\ufffd.app"
    assert written_name(b"bad\xff.\xfe") == "bad\ufffd.\ufffd"
    # The engine ends at a character of which bytes are missing, and leaves out what follows.
    assert written_name(b"cut\xe2\x80") == "cut\ufffd"
    assert written_name(b"cut\xf5ab") == "cut\ufffd"
    assert written_name(b"cut\xf5abc") == "cut\ufffdabc"
    assert written_name("a\x00b\nc\x85") == "a\ufffdb\ufffdc\ufffd"
    assert written_name(" com.app\u200b") == " com.app\u200b"
    for nothing in ("\u200b", "\ufeff \u3000", "\t\x00", "\u3164\u115f", "\u2800", "\ufe0f", "\U000e0100"):
        assert written_name(nothing) is None, ascii(nothing)


def test_names_that_are_too_long_are_counted_by_themselves() -> None:
    rows = [
        page("2026-11-20T01:00", package_nm="x" * 300),
        page("2026-11-20T02:00", package_nm="\U0001f600" * 301),
        page("2026-11-20T03:00", os_type="x" * 301),
        page("2026-11-20T04:00", package_nm="x" * 301, server_type=None),
    ]
    expected = expected_statistics(rows, [], stat_date=DAY, timezone="UTC")
    assert list(expected.by_key) == [("x" * 300, 0, "Web")]
    assert (expected.left_out_rows, expected.too_long_rows) == (1, 2)


def test_values_out_of_range_are_left_out_and_counted() -> None:
    rows = [
        page("2026-11-20T01:00", lcp=-5.0, log_count=2**64 - 1, inp=600_000.0),
        page("2026-11-20T02:00", lcp=2500.0, log_count=7, inp=600_000.5),
        page("2026-11-20T03:00", lcp=float("nan"), log_count=None, inp=float("inf")),
        # Not a key, so its values are not counted.
        page("2026-11-20T04:00", lcp=-5.0, package_nm=""),
    ]
    history = [seen(DAY, visit_cnt=2**64 - 1), seen(DAY, device_id="d2", visit_cnt=4)]
    expected = expected_statistics(rows, history, stat_date=DAY, timezone="UTC")
    metrics = expected.by_key["shop", 0, "Web"]
    assert (metrics["visit"], metrics["log_count"], metrics["lcp_avg"], metrics["inp_avg"]) == (4, 7, 2500, 600_000)
    assert metrics["pv"] == 3
    assert expected.out_of_range == {"visit": 1, "log_count": 1, "lcp": 2, "inp": 2}


@pytest.mark.parametrize(
    ("timezone", "stat_date", "first", "after_last"),
    [
        ("UTC", DAY, "2026-11-20T00:00", "2026-11-21T00:00"),
        ("Asia/Seoul", DAY, "2026-11-19T15:00", "2026-11-20T15:00"),
        # 23 hours: the clocks go forward.
        ("America/New_York", date(2026, 3, 8), "2026-03-08T05:00", "2026-03-09T04:00"),
        # 25 hours: the clocks go back.
        ("America/New_York", date(2026, 11, 1), "2026-11-01T04:00", "2026-11-02T05:00"),
    ],
)
def test_a_day_lasts_from_midnight_to_midnight_in_the_zone(
    timezone: str, stat_date: date, first: str, after_last: str
) -> None:
    last = datetime.fromisoformat(after_last) - timedelta(seconds=1)
    rows = [
        page(first, log_type=START, device_id="first"),
        page(last.isoformat(), log_type=START, device_id="last"),
        page(after_last, log_type=START, device_id="next day"),
    ]
    metrics = expected_statistics(rows, [], stat_date=stat_date, timezone=timezone).by_key
    assert metrics["shop", 0, "Web"]["pv"] == 2
    assert metrics["shop", 0, "Web"]["dau"] == 2


def test_an_instant_without_a_zone_is_refused() -> None:
    row = page("2026-11-20T01:00", page_start_tm_dt=datetime(2026, 11, 20, 1))
    with pytest.raises(ValueError, match="no time zone"):
        expected_statistics([row], [], stat_date=DAY, timezone="UTC")
