from __future__ import annotations

import json
import re
from typing import Any

import pytest

from maxy.family_settings import settings_table
from maxy.statistics import settings
from maxy.statistics.settings import OLDER_VARIABLES, StatisticsSettings
from tests.conftest import ROOT

VARIABLE = "AIRFLOW_VAR_MAXY_STATISTICS"
PAGE = (ROOT / "docs" / "statistics" / "settings.md").read_text(encoding="utf-8")


def given(monkeypatch: pytest.MonkeyPatch, content: Any, **older: str) -> None:
    monkeypatch.setenv(VARIABLE, content if isinstance(content, str) else json.dumps(content))
    for name, value in older.items():
        monkeypatch.setenv(f"AIRFLOW_VAR_{name.upper()}", value)


def read_all() -> dict[str, Any]:
    live = settings.realtime_settings()
    return {
        "live": live.deadline_minutes,
        "metric_ranges": [settings.metric_ranges()["lcp"].low, settings.metric_ranges()["lcp"].high],
        "max_name_length": settings.max_name_length(),
        "settling_minutes": settings.settling_minutes(),
        "daily_cache_ttl_days": settings.daily_cache_days(),
        "log_cache_values": settings.log_cache_values(),
    }


@pytest.fixture(autouse=True)
def _older_variables_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, unset in OLDER_VARIABLES.values():
        monkeypatch.setenv(f"AIRFLOW_VAR_{variable.upper()}", unset)


OWN = {
    "live": {"deadline_minutes": 60},
    "metric_ranges": {"lcp": [1, 2000]},
    "max_name_length": 64,
    "settling_minutes": 2.5,
    "daily_cache_ttl_days": 7,
    "log_cache_values": "all",
}
READ = {
    "live": 60.0,
    "metric_ranges": [1, 2000],
    "max_name_length": 64,
    "settling_minutes": "2.5",
    "daily_cache_ttl_days": 7,
    "log_cache_values": "all",
}
OLDER = {
    "maxy_realtime": '{"deadline_minutes": 60}',
    "maxy_metric_ranges": '{"lcp": [1, 2000]}',
    "maxy_max_name_length": "64",
    "maxy_settling_minutes": "2.5",
    "maxy_daily_cache_ttl_days": "7",
    "maxy_log_cache_values": "all",
}


def test_one_variable_holds_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, OWN)
    assert read_all() == READ


@pytest.mark.parametrize("nothing", ["{}", "", "  "])
def test_the_older_variables_stay_valid(monkeypatch: pytest.MonkeyPatch, nothing: str) -> None:
    given(monkeypatch, nothing, **OLDER)
    assert read_all() == READ


def test_settings_of_both_kinds_go_together_where_they_are_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {"max_name_length": 64, "live": {"deadline_minutes": 60}}, maxy_settling_minutes="3")
    found = read_all()
    assert (found["max_name_length"], found["live"], found["settling_minutes"]) == (64, 60.0, "3")


@pytest.mark.parametrize("setting", sorted(OWN))
def test_one_that_is_set_in_both_places_is_refused_by_both_names(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    variable, unset = OLDER_VARIABLES[setting]
    given(monkeypatch, {setting: OWN[setting]}, **{variable: OLDER[variable]})
    words = rf"maxy_statistics\.{setting} and Airflow variable {variable} are both set: put {variable} back to"
    with pytest.raises(ValueError, match=words) as raised:
        read_all()
    assert str(raised.value).endswith(unset)


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (0, "0"), (12, "12")])
def test_how_many_keys_are_logged_is_told_as_the_operator_takes_it(
    monkeypatch: pytest.MonkeyPatch, value: Any, text: str
) -> None:
    given(monkeypatch, {"log_cache_values": value})
    assert settings.log_cache_values() == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "maxy_statistics: not valid JSON"),
        ("[]", "maxy_statistics: expected a JSON object"),
        ('{"live": {}, "live": {}}', "maxy_statistics: live is given twice"),
        (
            {"setling_minutes": 1},
            "maxy_statistics: there is no setting setling_minutes; there are daily_cache_ttl_days",
        ),
        ({"max_name_length": 0}, "maxy_statistics.max_name_length: 0: input should be greater than or equal to 1"),
        ({"max_name_length": "64"}, "maxy_statistics.max_name_length: '64': input should be a valid integer"),
        ({"max_name_length": True}, "maxy_statistics.max_name_length: True: input should be a valid integer"),
        ({"settling_minutes": -1}, "maxy_statistics.settling_minutes: -1: input should be"),
        ('{"settling_minutes": NaN}', "maxy_statistics.settling_minutes: nan: input should be a finite number"),
        ('{"settling_minutes": Infinity}', "maxy_statistics.settling_minutes: inf: input should be a finite number"),
        ({"log_cache_values": "some"}, "maxy_statistics.log_cache_values"),
        ({"metric_ranges": []}, "maxy_statistics.metric_ranges: []: input should be a valid dictionary"),
        ({"metric_ranges": {"lcpp": [0, 1]}}, "maxy_statistics.metric_ranges"),
        ({"live": {"enabled": ["logmeter"]}}, "maxy_statistics.live.enabled: there is no setting logmeter"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, content: Any, words: str) -> None:
    given(monkeypatch, content)
    with pytest.raises(ValueError, match=re.escape(f"Airflow variable {words}")):
        read_all()


def test_all_that_is_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {"max_name_length": 0, "daily_cache_ttl_days": 0.5})
    with pytest.raises(ValueError, match=r"max_name_length.*; .*daily_cache_ttl_days"):
        settings.max_name_length()


def test_the_page_has_the_table_of_the_model() -> None:
    assert settings_table(StatisticsSettings) in PAGE


def test_the_pages_example_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```json\n(.+?)\n```", PAGE, re.DOTALL)
    given(monkeypatch, example)
    assert read_all()["settling_minutes"] == "20"
