"""What reaches the embedded stack's Airflow from outside: variables for its metrics, a file that people edit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from local.processes import ProcessError
from local.services.airflow import AirflowDeployment
from local.services.airflow_configuration import check_configuration_file, quiet_airflows_own_warnings
from local.services.postgres import Postgres
from local.settings import read_settings
from local.stack import Progress, Stack, StackError
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = """\
[core]
dags_folder = /somewhere
[logging]
log_format = [%%(asctime)s] %%(message)s
[metrics]
# a comment
otel_on = False
statsd_prefix = airflow
"""


def airflow_environment(tmp_path: Path, variables: dict[str, str]) -> dict[str, str]:
    settings = read_settings(tmp_path, variables)
    return AirflowDeployment(settings, Postgres(settings)).environment()


def test_metrics_settings_reach_airflow_from_the_environment_and_from_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the processes inherit is this process's own environment.
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "elsewhere")
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    (tmp_path / ".env").write_text("AIRFLOW__METRICS__STATSD_ON=False\nAIRFLOW__METRICS__STATSD_PORT=9125\n")

    environment = airflow_environment(
        tmp_path,
        {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__CORE__PARALLELISM": "99",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite://",
            "AIRFLOW_HOME": "/elsewhere",
            "AIRFLOW__METRICS__": "no name",
        },
    )

    assert {name: value for name, value in environment.items() if name.startswith("AIRFLOW__METRICS__")} == {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": "9125",
    }
    assert environment["AIRFLOW__CORE__PARALLELISM"] != "99"
    assert environment["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert environment["AIRFLOW_HOME"].startswith(str(tmp_path))
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql")


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({}, {}, False),
        ({"AIRFLOW__METRICS__OTEL_ON": "True"}, {"AIRFLOW__METRICS__OTEL_ON": "True"}, False),
        ({}, {"AIRFLOW__METRICS__OTEL_ON": "True"}, True),
        ({"AIRFLOW__METRICS__OTEL_ON": "True"}, {}, True),
        ({"AIRFLOW__METRICS__STATSD_PORT": "8125"}, {"AIRFLOW__METRICS__STATSD_PORT": "8126"}, True),
    ],
)
def test_other_metrics_settings_than_those_of_the_running_stack_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str], changed: bool
) -> None:
    def stack(variables: dict[str, str]) -> Stack:
        return Stack(read_settings(tmp_path, variables), Progress(lambda line: None))

    stack(before)._remember_settings()
    running = stack(after)
    monkeypatch.setattr(running.valkey.process, "running", lambda: object())
    if not changed:
        running._check_settings()
        return
    with pytest.raises(StackError, match=r"AIRFLOW__METRICS__\* was .* is .*`python -m local down` first"):
        running._check_settings()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (GENERATED + "otel_on = True\n", "line 9.*option 'otel_on' in section 'metrics' already exists"),
        (GENERATED + "[metrics]\nstatsd_on = True\n", "section 'metrics' already exists"),
        ("otel_on = True\n" + GENERATED, "no section headers.*'otel_on = True"),
        (GENERATED + "statsd_on\n", "parsing errors.*statsd_on"),
        (GENERATED + "statsd_host = 100%\n", "'%' must be followed by"),
        (GENERATED + "statsd_host = %(nowhere)s\n", "nowhere"),
        (GENERATED.encode() + b"statsd_host = caf\xe9\n", "can't decode byte 0xe9"),
    ],
)
def test_a_file_that_airflow_could_not_read_is_told_in_one_line(tmp_path: Path, text: str | bytes, cause: str) -> None:
    path = tmp_path / "airflow.cfg"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProcessError, match=cause) as told:
        check_configuration_file(path)
    message = str(told.value)
    assert message.startswith(f"{path} cannot be read: ")
    assert message.endswith("Mend it, or remove it: Airflow then writes a new one")
    assert "\n" not in message


def test_a_good_file_and_none_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "airflow.cfg"
    check_configuration_file(path)
    path.write_text(GENERATED, encoding="utf-8")
    check_configuration_file(path)


@pytest.mark.parametrize("command", [["up"], ["airflow", "dags", "list"], ["airflow", "version"], ["cleanup"]])
def test_every_command_that_starts_airflow_says_so_without_a_traceback(tmp_path: Path, command: list[str]) -> None:
    home = tmp_path / "airflow"
    home.mkdir()
    (home / "airflow.cfg").write_text(GENERATED + "otel_on = True\n", encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-m", "local", *command],
        cwd=ROOT,
        env={**os.environ, "MAXY_LOCAL_DIR": str(tmp_path), "MAXY_ENV_FILE": os.devnull},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"local: {home / 'airflow.cfg'} cannot be read")
    assert "already exists" in line


def test_docker_compose_keeps_the_same_warnings_quiet() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    assert compose["x-airflow-environment"]["PYTHONWARNINGS"] == quiet_airflows_own_warnings("")


_WARN = """
import warnings
airflows = "airflow.sdk._shared.module_loading.file_discovery"
for module in (airflows, "shop.loops"):
    warnings.warn_explicit("GitWildMatchPattern is old", DeprecationWarning, module, 1, module=module)
warnings.warn_explicit("other", DeprecationWarning, "other", 1, module=airflows)
"""


@pytest.mark.parametrize(
    ("given", "shown"), [("", {"shop.loops", "other"}), ("default", {"airflow.sdk", "shop.loops", "other"})]
)
def test_only_what_airflow_itself_cannot_help_is_kept_quiet(given: str, shown: set[str]) -> None:
    # The first shows everything of which nothing else is said; the second is a user's own wish.
    wanted = quiet_airflows_own_warnings(given) if given else f"default,{quiet_airflows_own_warnings('')}"
    answer = subprocess.run(
        [sys.executable, "-c", _WARN], env={**os.environ, "PYTHONWARNINGS": wanted}, capture_output=True, text=True
    )
    assert answer.returncode == 0
    assert {name for name in ("airflow.sdk", "shop.loops", "other") if name in answer.stderr} == shown
