from __future__ import annotations

import pytest

from maxy.paths import SQL_DIRECTORY
from maxy.settings import statistics_timezone, valkey_prefix


def test_timezone_is_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", "Asia/Seoul")
    assert statistics_timezone().key == "Asia/Seoul"


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "KST+9 "])
def test_unknown_timezone_is_refused_naming_the_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", name)
    with pytest.raises(ValueError, match="maxy_timezone"):
        statistics_timezone()


def test_prefix_is_the_environments_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert valkey_prefix() == "stats:realtime"
    monkeypatch.setenv("VALKEY_PREFIX", "other")
    assert valkey_prefix() == "other"


def test_sql_files_are_where_the_dags_look() -> None:
    assert (SQL_DIRECTORY / "statistics" / "device_statistic" / "rollup.sql").is_file()
