"""Which values are measurements: the table of ranges, and how it is set."""

from __future__ import annotations

import json
import math

import pytest

from maxy.loops.options import RealtimeSettings
from maxy.loops.registry import enabled_loops
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.metric_ranges import (
    DEFAULT_RANGES,
    MetricRange,
    checked_metric_ranges,
    parse_metric_ranges,
    to_json,
)
from maxy.statistics.settings import max_name_length, metric_ranges, row_rules
from tests.oracle import PLAUSIBLE

VARIABLE = "AIRFLOW_VAR_MAXY_METRIC_RANGES"


def test_defaults_are_those_that_the_oracle_knows() -> None:
    assert {name: (known.low, known.high) for name, known in DEFAULT_RANGES.items() if name in PLAUSIBLE} == PLAUSIBLE


def test_a_range_holds_its_ends_and_no_more() -> None:
    lcp = MetricRange(0, 600_000)
    assert all(value in lcp for value in (0, -0.0, 600_000, 0.5))
    assert not any(value in lcp for value in (-5, 600_000.5, math.nan, math.inf, -math.inf, 1e300, None, "1"))


def test_what_is_set_replaces_that_metric_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, '{"lcp": [1, 60000], "cls": [0, 0.25]}')
    found = metric_ranges()
    assert (found["lcp"], found["cls"]) == (MetricRange(1, 60_000), MetricRange(0, 0.25))
    assert {name: found[name] for name in found if name not in ("lcp", "cls")} == {
        name: DEFAULT_RANGES[name] for name in DEFAULT_RANGES if name not in ("lcp", "cls")
    }
    assert checked_metric_ranges(json.loads(json.dumps(to_json(found))), where="again") == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"lpc": [0, 1]}', "there is no metric lpc; there are cls, crash_count"),
        ('{"lcp": [0, 1], "lcp": [0, 2]}', "lcp is given twice"),
        ('{"lcp": 5}', "maxy_metric_ranges.lcp: 5 is not a list of two numbers"),
        ('{"lcp": [0]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": [5, 1]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": [-1, 5]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": [0, 1e10]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": [0, NaN]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": [0, Infinity]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": [false, true]}', "maxy_metric_ranges.lcp"),
        ('{"lcp": ["0", "1"]}', "maxy_metric_ranges.lcp"),
    ],
)
def test_a_wrong_range_is_named(monkeypatch: pytest.MonkeyPatch, text: str, reason: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=r"^Airflow variable maxy_metric_ranges") as raised:
        metric_ranges()
    assert reason in str(raised.value)


@pytest.mark.parametrize("text", ["0", "-1", "10001", "3.5", "300 characters", "1e3", "\u0663"])
def test_a_wrong_length_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH", text)
    with pytest.raises(ValueError, match=r"^Airflow variable maxy_max_name_length: .* from 1 to 10000$"):
        max_name_length()


@pytest.mark.parametrize(("text", "length"), [("", 300), (" 64 ", 64), ("10000", 10_000)])
def test_the_length_of_names(monkeypatch: pytest.MonkeyPatch, text: str, length: int) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH", text)
    assert max_name_length() == length


def test_all_loops_that_read_phones_rows_get_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, '{"lcp": [1, 60000]}')
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH", "64")
    loops = {loop.name: loop.settings.values for loop in enabled_loops(RealtimeSettings(), LIVE_LOOPS, row_rules())}
    assert {name for name, values in loops.items() if values.get("max_name_length") == 64} == loops.keys() - {"watch"}
    assert {name for name, values in loops.items() if values.get("metric_ranges", {}).get("lcp") == [1, 60_000]} == {
        "device",
        "page",
        "loading_time",
        "response_time",
    }


@pytest.mark.parametrize("option", ["max_name_length", "metric_ranges"])
def test_a_loop_cannot_have_rules_of_its_own(option: str) -> None:
    settings = RealtimeSettings(loops={"page": {option: 5}}, where="maxy_realtime")
    with pytest.raises(
        ValueError, match=rf"maxy_realtime\.loops\.page\.{option}: .* the variable maxy_{option} sets it"
    ):
        list(enabled_loops(settings, LIVE_LOOPS, row_rules()))


def test_a_text_without_anything_is_the_defaults() -> None:
    assert parse_metric_ranges("{}", where="here") == dict(DEFAULT_RANGES)
