from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.sdk import BaseNotifier

from maxy.notifiers.failure import FailureNotifier, notify_configured


class Recorder(BaseNotifier):
    """Remembers what it was told."""

    template_fields = ("text",)
    told: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        if self.text == "broken":
            raise RuntimeError("no network")
        self.told.append(self.text)


def fail(monkeypatch: pytest.MonkeyPatch, setting: Any) -> None:
    Recorder.told.clear()
    if setting is not None:
        monkeypatch.setenv(
            "AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", setting if isinstance(setting, str) else json.dumps(setting)
        )
    else:
        monkeypatch.delenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", raising=False)
    ti = SimpleNamespace(dag_id="daily", task_id="rollup", run_id="run 1", try_number=4)
    FailureNotifier()({"ti": ti, "exception": ValueError("no such table")})


@pytest.fixture(autouse=True)
def _no_stored_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a setting the variable would be looked up in the metadata database, which unit tests do not have.
    monkeypatch.setattr("maxy.notifiers.failure.Variable.get", _from_environment)


def _from_environment(name: str, default: str) -> str:
    return os.environ.get(f"AIRFLOW_VAR_{name.upper()}", default)


ADDRESS = "Cannot connect to host db-2.internal:9000 ('10.0.0.2', 9000)"


def test_what_is_told_names_no_server_and_the_log_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Recorder.told.clear()
    setting = {"class": f"{__name__}.Recorder", "arguments": {"text": "{{ ti.task_id }}: {{ exception }}"}}
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", json.dumps(setting))
    ti = SimpleNamespace(dag_id="daily", task_id="rollup", run_id="run 1", try_number=4)
    for error in (OSError(ADDRESS), ADDRESS):
        FailureNotifier()({"ti": ti, "exception": error})
    assert Recorder.told == ["rollup: Cannot connect to host [address] [address]"] * 2
    assert capsys.readouterr().out.count(ADDRESS) == 2


LINE = "Task failed: dag daily, task rollup, run run 1, try 4: no such table"


def test_logs_what_failed_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail(monkeypatch, None)
    assert LINE in capsys.readouterr().out
    assert Recorder.told == []


def test_hands_it_to_the_configured_notifier_with_the_tasks_context(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, {"class": f"{__name__}.Recorder", "arguments": {"text": "{{ ti.task_id }} failed"}})
    assert Recorder.told == ["rollup failed"]


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ({"class": f"{__name__}.Recorder", "arguments": {"text": "broken"}}, "no network"),
        ({"class": f"{__name__}.Recorder", "arguments": {"wrong": 1}}, "wrong"),
        ({"class": "maxy.no_such.Notifier"}, "no_such"),
        ({"class": "pathlib.Path"}, "pathlib.Path is not a notifier"),
        ({}, "class"),
        ("no json", "maxy_failure_notifier"),
    ],
)
def test_a_notifier_that_fails_is_logged_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: Any, cause: str
) -> None:
    fail(monkeypatch, setting)
    logged = capsys.readouterr().out
    assert LINE in logged
    assert "The notifier in Airflow variable maxy_failure_notifier failed" in logged
    assert cause in logged


def test_a_setting_that_cannot_be_looked_up_is_logged_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(name: str, default: str) -> str:
        raise OSError("the API server does not answer")

    monkeypatch.setattr("maxy.notifiers.failure.Variable.get", unreachable)
    FailureNotifier()(
        {
            "ti": SimpleNamespace(dag_id="daily", task_id="rollup", run_id="run 1", try_number=4),
            "exception": ValueError("no such table"),
        }
    )
    logged = capsys.readouterr().out
    assert LINE in logged
    assert "the API server does not answer" in logged


class TestByItself:
    """What the live loops' alerts use: whoever calls wants to know whether it was delivered."""

    CONTEXT: ClassVar[dict[str, Any]] = {"ti": SimpleNamespace(task_id="run_loop"), "exception": "no good tick"}

    def notify(self, monkeypatch: pytest.MonkeyPatch, setting: Any) -> None:
        Recorder.told.clear()
        monkeypatch.setenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", json.dumps(setting))
        self.deliver()

    def deliver(self) -> None:
        context: Any = dict(self.CONTEXT)
        notify_configured(context)

    def test_it_renders_and_delivers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = "{{ ti.task_id }}: {{ exception }}"
        self.notify(monkeypatch, {"class": f"{__name__}.Recorder", "arguments": {"text": text}})
        assert Recorder.told == ["run_loop: no good tick"]

    def test_a_notifier_that_fails_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(RuntimeError, match="no network"):
            self.notify(monkeypatch, {"class": f"{__name__}.Recorder", "arguments": {"text": "broken"}})

    def test_a_setting_that_names_none_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match=r"maxy_failure_notifier.*pathlib\.Path is not a notifier"):
            self.notify(monkeypatch, {"class": "pathlib.Path"})

    def test_without_a_setting_nobody_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", raising=False)
        Recorder.told.clear()
        self.deliver()
        assert Recorder.told == []
