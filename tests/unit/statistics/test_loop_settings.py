"""Settings of the live loops: what is wrong is refused by its full name."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from maxy.loops.options import COMMON_OPTIONS, LoopSettings, Option, RealtimeSettings, positive_int
from maxy.loops.registry import enabled_loops, loop_class
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.live_loops import LIVE_LOOPS as EVERY_LOOP
from maxy.statistics.row_rules import ROW_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILT_IN = {"log_meter": "maxy.statistics.live.log_meter.LogMeter", "page": "maxy.statistics.live.page.Page"}
WHERE = "Variable maxy_realtime"


def checked(**given: Any) -> LoopSettings:
    return LoopSettings.from_json(
        given, options=LogMeter.options, period_seconds=LogMeter.period_seconds, where=f"{WHERE}.loops.log_meter"
    )


def parsed(given: Any) -> RealtimeSettings:
    return RealtimeSettings.parse(json.dumps(given), where=WHERE, built_in=BUILT_IN)


def test_defaults_hold_for_what_is_not_set() -> None:
    settings = checked()
    assert settings.period_seconds == 5.0
    assert settings["lateness_seconds"] == 10.0
    assert settings.values.keys() == COMMON_OPTIONS.keys() | LogMeter.options.keys()


def test_given_values_come_as_the_loop_needs_them() -> None:
    settings = checked(period_seconds=7, lateness_seconds=0, leave_out_log_types=[5, 3, 5], prune_parts=False)
    assert (settings.period_seconds, settings["lateness_seconds"]) == (7.0, 0.0)
    assert settings["leave_out_log_types"] == [3, 5]
    assert settings["prune_parts"] is False


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, 30.0),
        ({"period_seconds": 60}, 240.0),
        ({"tick_limit_seconds": 2.5}, 2.5),
        ({"tick_limit_seconds": None, "period_seconds": 7.6}, 30.4),
    ],
)
def test_tick_limit_follows_the_period_unless_it_is_set(given: dict[str, Any], limit: float) -> None:
    assert checked(**given).tick_limit_seconds == pytest.approx(limit)


NOT_POSITIVE: list[Any] = [0, -1, "5", None, True, [], float("nan"), float("inf")]
WRONG: dict[str, list[Any]] = {
    "period_seconds": NOT_POSITIVE,
    "tick_limit_seconds": [value for value in NOT_POSITIVE if value is not None],
    "lease_seconds": NOT_POSITIVE,
    "max_threads": [*NOT_POSITIVE, 1.5],
    "prune_parts": [0, 1, "true", None],
    "log_values": [0, "false", None],
    "log_values_per_minute": [*NOT_POSITIVE, 2.0],
    "log_values_per_tick": [*NOT_POSITIVE, 2.0],
    "lateness_seconds": [-0.1, "10", None, False, True, float("nan"), [0]],
    "leave_out_log_types": [None, "1", 1, [True], [1.0], ["1"], [-1], [2**64], {"1": 1}],
    "max_name_length": [*NOT_POSITIVE, 2.0, 10_001],
    "expire_minutes": NOT_POSITIVE,
    "state_hours": NOT_POSITIVE,
}


def test_every_setting_has_its_wrong_values_here() -> None:
    assert WRONG.keys() == {"period_seconds", *COMMON_OPTIONS, *LogMeter.options}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_value_is_refused_by_its_full_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=" is not ") as caught:
        checked(**{name: value})
    assert str(caught.value).startswith(f"{WHERE}.loops.log_meter.{name}: {value!r} is not ")


def test_number_that_nothing_can_hold_is_refused() -> None:
    for value in (10**400, 1e300, 1_000_000_001):
        with pytest.raises(ValueError, match=r"log_meter\.period_seconds: .* is not 1000000000 or less$"):
            checked(period_seconds=value)
    with pytest.raises(ValueError, match=r"log_meter\.max_threads: .* is not 1000000000000 or less$"):
        checked(max_threads=10**12 + 1)


def test_unknown_settings_are_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no setting laten, periods;") as caught:
        checked(periods=5, laten=1)
    assert str(caught.value).startswith(f"{WHERE}.loops.log_meter: ")
    assert "lateness_seconds" in str(caught.value)
    assert "period_seconds" in str(caught.value)


def test_settings_come_back_from_json_as_they_were() -> None:
    settings = checked(period_seconds=2.5, leave_out_log_types=[9, 1], tick_limit_seconds=3, log_values=False)
    assert checked(**json.loads(json.dumps(settings.to_json()))) == settings
    assert checked(**json.loads(json.dumps(checked().to_json()))) == checked()


def test_wrong_default_is_refused_too() -> None:
    options = {"size": Option(0, positive_int)}
    with pytest.raises(ValueError, match=r"^here\.size: 0 is not a whole number above 0$"):
        LoopSettings.from_json({}, options=options, period_seconds=1.0, where="here")


# ---- of all loops ----


def test_no_settings_are_the_defaults() -> None:
    settings = parsed({})
    assert settings == RealtimeSettings(where=WHERE)
    assert settings.names(BUILT_IN) == BUILT_IN


def test_enabled_and_own_loops_decide_which_there_are() -> None:
    own = {"orders": "shop.loops.Orders"}
    assert parsed({"own_loops": own}).names(BUILT_IN) == BUILT_IN | own
    assert parsed({"enabled": ["page"]}).names(BUILT_IN) == {"page": BUILT_IN["page"]}
    assert parsed({"own_loops": own, "enabled": ["orders"]}).names(BUILT_IN) == own
    assert parsed({"enabled": []}).names(BUILT_IN) == {}


def test_settings_of_own_loops_are_handed_on_unchecked() -> None:
    loops = {"orders": {"anything": [1]}, "page": {"period_seconds": 10}}
    assert parsed({"own_loops": {"orders": "shop.Orders"}, "loops": loops}).loops == loops


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"deadline_minutes": 0}, "deadline_minutes"),
        ({"deadline_minutes": "360"}, "deadline_minutes"),
        ({"deadline_minutes": None}, "deadline_minutes"),
        ({"deadline_minutes": float("inf")}, "deadline_minutes"),
        ({"enabled": "page"}, "enabled"),
        ({"enabled": [1]}, "enabled"),
        ({"enabled": ["pages"]}, "enabled"),
        ({"enabled": {"page": True}}, "enabled"),
        ({"own_loops": ["shop.Orders"]}, "own_loops"),
        ({"own_loops": {"orders": "Orders"}}, "own_loops"),
        ({"own_loops": {"orders": 1}}, "own_loops"),
        ({"own_loops": {"Orders": "shop.Orders"}}, "own_loops"),
        ({"own_loops": {"a:b": "shop.Orders"}}, "own_loops"),
        ({"own_loops": {"": "shop.Orders"}}, "own_loops"),
        ({"own_loops": {"page": "shop.Page"}}, "own_loops"),
        ({"own_loops": {"orders": ".Orders"}}, "own_loops"),
        ({"own_loops": {"orders": "shop.loops."}}, "own_loops"),
        ({"own_loops": {"orders": "shop.my loops.Orders"}}, "own_loops"),
        ({"loops": []}, "loops"),
        ({"loops": {"page": 5}}, "loops"),
        ({"loops": {"pages": {}}}, "loops"),
        ({"loops": None}, "loops"),
    ],
)
def test_wrong_setting_of_all_loops_is_refused_by_its_full_name(given: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=" is ") as caught:
        parsed(given)
    assert str(caught.value).startswith(f"{WHERE}.{place}: ")


def test_loop_named_twice_is_one() -> None:
    assert parsed({"enabled": ["page", "page"]}).names(BUILT_IN) == {"page": BUILT_IN["page"]}


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"^Variable maxy_realtime: there is no setting dead_line; there are deadline_min"
    ):
        parsed({"dead_line": 5})
    with pytest.raises(ValueError, match=r"\.loops: there is no setting pages; there are log_meter, page$"):
        parsed({"loops": {"pages": {}}})


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"{}"', '{"a": 1}}'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{WHERE}: "):
        RealtimeSettings.parse(text, where=WHERE, built_in=BUILT_IN)


def test_setting_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Variable maxy_realtime: deadline_minutes is given twice$"):
        RealtimeSettings.parse('{"deadline_minutes": 5, "deadline_minutes": 6}', where=WHERE, built_in=BUILT_IN)


# ---- bounds ----


def loop_settings(loop: str, **given: Any) -> LoopSettings:
    """Return the settings of one of the package's loops, checked as where the DAGs are parsed."""
    text = json.dumps({"loops": {loop: given}})
    realtime = RealtimeSettings.parse(text, where=WHERE, built_in=EVERY_LOOP)
    return next(found.settings for found in enabled_loops(realtime, EVERY_LOOP) if found.name == loop)


def numbers_of_every_loop() -> Iterator[tuple[str, str]]:
    for loop, path in EVERY_LOOP.items():
        options = {**COMMON_OPTIONS, **loop_class(path).options}
        for name, option in options.items():
            if name in ROW_OPTIONS:
                # Set by variables of their own.
                continue
            if name == "tick_limit_seconds" or (
                isinstance(option.default, int | float) and not isinstance(option.default, bool)
            ):
                yield loop, name
        yield loop, "period_seconds"


#: Whole numbers of rows or lines: any up to a trillion does no harm.
UNBOUNDED = {"scan_rows", "log_values_per_minute", "log_values_per_tick"}


@pytest.mark.parametrize(("loop", "name"), list(numbers_of_every_loop()))
def test_no_absurd_number_is_accepted(loop: str, name: str) -> None:
    wrong = [math.nan, math.inf, -math.inf, -1, -1e-9, True, "5", [5], {}, 10**13, 10**400]
    wrong += [] if name in UNBOUNDED else [10**12, 1e9]
    # Such small numbers are right for how late a row may come, and for a limit that another one is added to.
    wrong += [] if name in ("lateness_seconds", "stale_seconds") else [0, 1e-6, 1e-9]
    for value in wrong:
        with pytest.raises(ValueError, match=" is not ") as caught:
            loop_settings(loop, **{name: value})
        assert str(caught.value).startswith(f"{WHERE}.loops.{loop}.{name}: ")
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("loop", EVERY_LOOP)
def test_the_defaults_of_every_loop_hold_its_rules(loop: str) -> None:
    assert loop_settings(loop).period_seconds == loop_class(EVERY_LOOP[loop]).period_seconds


CONTRADICTIONS: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("device", {"expire_hours": 0.05, "rewrite_minutes": 10}, ("expire_hours", "rewrite_minutes")),
    ("page", {"expire_hours": 0.3}, ("expire_hours", "rewrite_minutes")),
    ("page", {"rewrite_minutes": 1441}, ("expire_hours", "rewrite_minutes")),
    ("page", {"expire_hours": 1, "tick_limit_seconds": 3000}, ("expire_hours", "tick_limit_seconds")),
    (
        "page",
        {"expire_hours": 0.5, "rewrite_minutes": 0.5, "period_seconds": 1200, "tick_limit_seconds": 1},
        ("expire_hours", "period_seconds"),
    ),
    ("page", {"rebuild_minutes": 1, "period_seconds": 31}, ("rebuild_minutes", "period_seconds")),
    ("log_meter", {"expire_minutes": 1, "tick_limit_seconds": 56}, ("expire_minutes", "tick_limit_seconds")),
    (
        "log_meter",
        {"expire_minutes": 1, "tick_limit_seconds": 1, "period_seconds": 40},
        ("expire_minutes", "period_seconds"),
    ),
    ("log_meter", {"state_hours": 0.5}, ("state_hours", "expire_minutes")),
    ("log_meter", {"expire_minutes": 4321}, ("state_hours", "expire_minutes")),
    (
        "log_meter",
        {"state_hours": 0.5, "expire_minutes": 2, "lateness_seconds": 1800},
        ("state_hours", "lateness_seconds"),
    ),
    ("loading_time", {"window_seconds": 10, "period_seconds": 6}, ("window_seconds", "period_seconds")),
    ("response_time", {"window_seconds": 60, "lateness_seconds": 60}, ("window_seconds", "lateness_seconds")),
]


@pytest.mark.parametrize(("loop", "given", "named"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused_by_both_names(
    loop: str, given: dict[str, Any], named: tuple[str, str]
) -> None:
    with pytest.raises(ValueError, match=" do not go together: ") as caught:
        loop_settings(loop, **given)
    for name in named:
        assert f"{WHERE}.loops.{loop}.{name} (" in str(caught.value)


@pytest.mark.parametrize(
    ("loop", "given"),
    [
        ("device", {"expire_hours": 1, "rewrite_minutes": 30}),
        ("page", {"rebuild_minutes": 1, "period_seconds": 30}),
        ("log_meter", {"expire_minutes": 1, "period_seconds": 5, "lease_seconds": 3, "state_hours": 0.1}),
        ("loading_time", {"window_seconds": 11, "period_seconds": 0.5}),
    ],
)
def test_settings_at_their_bounds_are_accepted(loop: str, given: dict[str, Any]) -> None:
    assert {name: loop_settings(loop, **given).effective(name) for name in given} == given


def test_a_run_lasts_for_two_ticks_of_each_loop() -> None:
    settings = {"deadline_minutes": 10, "loops": {"device": {"period_seconds": 301, "tick_limit_seconds": 60}}}
    realtime = RealtimeSettings.parse(json.dumps(settings), where=WHERE, built_in=EVERY_LOOP)
    with pytest.raises(ValueError, match="do not go together") as caught:
        list(enabled_loops(realtime, EVERY_LOOP))
    assert f"{WHERE}.deadline_minutes (10)" in str(caught.value)
    assert f"{WHERE}.loops.device.period_seconds (301)" in str(caught.value)


@pytest.mark.parametrize("value", [1e-6, 0.99, 43_201, 10**12, math.nan, math.inf, True])
def test_deadline_is_bounded(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^Variable maxy_realtime\.deadline_minutes: .* is not "):
        parsed({"deadline_minutes": value})


def test_an_empty_list_of_responses_or_a_longer_one_than_can_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"response_time\.log_types: \[\] is not a list of at least one whole number$"):
        loop_settings("response_time", log_types=[])
    for loop, name in (
        ("response_time", "log_types"), ("loading_time", "log_types"), ("log_meter", "leave_out_log_types"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{loop}.{name}: .* is not a list of 1000 numbers or fewer$") as caught:
            loop_settings(loop, **{name: list(range(1001))})
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["[" * 100_000, '{"deadline_minutes": ' + "9" * 5000 + "}"])
def test_json_that_python_refuses_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{WHERE}: not valid JSON: "):
        RealtimeSettings.parse(text, where=WHERE, built_in=BUILT_IN)
