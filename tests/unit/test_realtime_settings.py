"""Settings of the live loops: what is wrong is refused by its full name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maxy.realtime.log_meter import LogMeter
from maxy.realtime.settings import COMMON_OPTIONS, LoopSettings, Option, RealtimeSettings, positive_int

BUILT_IN = {"log_meter": "maxy.realtime.log_meter.LogMeter", "page": "maxy.realtime.page.Page"}
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
    "log_values_per_tick": [*NOT_POSITIVE, 2.0],
    "lateness_seconds": [-0.1, "10", None, False, True, float("nan"), [0]],
    "leave_out_log_types": [None, "1", 1, [True], [1.0], ["1"], [-1], [2**64], {"1": 1}],
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
    assert checked(period_seconds=10**9, max_threads=10**12)["max_threads"] == 10**12


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
