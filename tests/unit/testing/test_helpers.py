"""maxy.testing, as far as it needs no server: DAG files, contexts, and what is said of wrong arguments."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, BaseOperator

from maxy.testing import FakeClock, check_dags, dag_problems, load_dags, run_dag, run_loop, run_task, task_context
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
HEAD = """
from datetime import datetime, timezone
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
"""
GOOD = f"""{HEAD}
ARGUMENTS = {{"owner": "me", "retries": 2}}
with DAG("good", schedule=None, tags=["sales"], description="Does it well", default_args=ARGUMENTS):
    EmptyOperator(task_id="one")
"""


def write(folder: Path, text: str, name: str = "file.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# --- DAG files


def test_a_good_file_is_loaded_and_has_no_problem(tmp_path: Path) -> None:
    assert sorted(load_dags(write(tmp_path, GOOD))) == ["good"]
    (dag,) = check_dags(tmp_path, owner="me", tags=["sales"], least_retries=2).values()
    assert dag_problems(dag) == []


def test_the_packages_own_dags_pass() -> None:
    dags = load_dags(ROOT / "dags")
    assert "device_statistic_daily" in dags


def test_what_is_wrong_with_a_dag_is_said_once_each(tmp_path: Path) -> None:
    path = write(tmp_path, f'{HEAD}\nwith DAG("poor", schedule=None):\n    EmptyOperator(task_id="one")\n')
    (dag,) = load_dags(path).values()
    assert dag_problems(dag) == [
        "poor has no tag",
        "poor has neither a description nor doc_md",
        "task one of poor has no owner",
        "task one of poor has 0 retries, and should have 1 at the least",
    ]
    assert dag_problems(dag, owner="me", tags=["sales"], least_retries=0)[1:] == [
        "poor lacks the tag sales",
        "poor has neither a description nor doc_md",
        "task one of poor belongs to airflow, not to me",
    ]
    with pytest.raises(AssertionError, match="poor has no tag\npoor has neither"):
        check_dags(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("from airflow.sdk import DAG\nimport no_such_module\n", "file.py: .*no_such_module"),
        (f'{HEAD}\nDAG("good", schedule=None)\nDAG(\n', "file.py: .*SyntaxError"),
        (f"{HEAD}\n", "there is no DAG in it"),
        (f'{HEAD}\nwith DAG("loop", schedule=None):\n    a = EmptyOperator(task_id="a")\n    a >> a\n', "loop"),
    ],
)
def test_a_file_without_a_whole_dag_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(AssertionError, match=rf"(?s){problem}"):
        load_dags(write(tmp_path, text))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"nowhere\.py: there is no such file"):
        load_dags(tmp_path / "nowhere.py")


DOES = {
    "connects": ("import socket\nsocket.create_connection(('127.0.0.1', 1))", "asks the name service|opens a network"),
    "asks for a name": ("import socket\nsocket.gethostbyname('db')", "asks the name service"),
    "http": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')", "opens a network connection"),
    "a process": ("import subprocess\nsubprocess.run(['true'])", "starts a process"),
    "a shell": ("import os\nos.system('true')", "starts a process"),
    "sqlite": ("import sqlite3\nsqlite3.connect(':memory:')", "opens a database"),
    "writes": ("open('written', 'w')", "writes a file"),
    "appends": ("from pathlib import Path\nPath('written').open('a')", "writes a file"),
    "swallows": ("import socket\ntry:\n    socket.gethostbyname('db')\nexcept Exception:\n    pass", "asks the name"),
    "in a function": (
        "import socket\ndef ask():\n    return socket.gethostbyname('db')\nask()",
        "asks the name service",
    ),
}


@pytest.mark.parametrize(("code", "action"), DOES.values(), ids=DOES.keys())
def test_what_a_file_does_while_it_is_parsed_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, action: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, f"{GOOD}\n{code}\n")
    with pytest.raises(AssertionError, match=rf"file\.py:\d+: ({action}).* while the DAG is parsed"):
        load_dags(path)
    assert not (tmp_path / "written").exists()
    # Later, nobody minds.
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0


def test_a_module_beside_the_dag_is_watched_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, "import socket\nADDRESS = socket.gethostbyname('db')\n", "its_helper.py")
    write(tmp_path, f"{GOOD}\nimport its_helper\n")
    with pytest.raises(AssertionError, match=r"its_helper\.py:2: asks the name service"):
        load_dags(tmp_path)


def test_reading_a_file_is_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "SELECT 1", "query.sql")
    code = "from pathlib import Path\nPath(__file__).with_name('query.sql').read_text()"
    assert load_dags(write(tmp_path, f"{GOOD}\n{code}\n"))


# --- Tasks


class Say(BaseOperator):
    """Returns its text."""

    template_fields = ("text",)

    def __init__(self, *, text: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def execute(self, context: Any) -> Any:
        return self.text


SEEN = {
    "{{ ds }} {{ ds_nodash }} {{ ts }}": "2026-11-21 20261121 2026-11-21T13:00:00+00:00",
    "{{ data_interval_start.hour }} {{ macros.ds_add(ds, 1) }}": "13 2026-11-22",
    "{{ params.region }} {{ dag.dag_id }} {{ dag_run.run_type }}": "kr shop manual",
    "{{ run_id }} {{ ti.try_number }} {{ task.task_id }}": "r 3 say",
    "{{ var.value.unit }} {{ var.json.sizes[1] }}": "won 2",
    "{{ ti.xcom_pull('before') }} {{ ti.xcom_pull(task_ids=['before', 'never']) }}": "7 [7, None]",
}


@pytest.mark.parametrize(("template", "text"), SEEN.items())
def test_a_template_sees_what_a_worker_gives_it(template: str, text: str) -> None:
    with DAG("shop", schedule=None, params={"region": "kr"}):
        task = Say(task_id="say", text=template)
    variables = {"unit": "won", "sizes": "[1, 2]"}
    said = run_task(task, data_interval_start=NOW, variables=variables, run_id="r", try_number=3, xcoms={"before": 7})
    assert said == text


def test_parameters_of_a_run_replace_those_of_the_dag() -> None:
    with DAG("shop", schedule=None, params={"region": "kr", "size": 1}):
        task = Say(task_id="say", text="{{ params.region }} {{ params.size }}")
    assert run_task(task, params={"region": "us"}) == "us 1"


def test_an_instance_of_a_mapped_task_has_its_own_values() -> None:
    with DAG("shop", schedule=None):
        task = Say.partial(task_id="say").expand(text=["{{ ti.map_index }} kr", "{{ ti.map_index }} us"])
    assert run_task(task) == "0 kr"
    assert run_task(task, map_index=1) == "1 us"
    with DAG("shop", schedule=None):
        task = Say.partial(task_id="say").expand_kwargs([{"text": "a"}, {"text": "b"}])
    assert run_task(task, map_index=1) == "b"


def test_tasks_of_a_dag_see_what_those_before_them_returned() -> None:
    with DAG("shop", schedule=None) as dag:
        Say(task_id="one", text="1") >> Say(task_id="two", text="{{ ti.xcom_pull(task_ids='one') }}2")
    assert run_dag(dag) == {"one": "1", "two": "12"}


def test_a_task_without_a_dag_and_a_run_without_a_date_have_what_they_have() -> None:
    task = Say(task_id="say", text="{{ params.x }}")
    assert run_task(task, params={"x": 5}) == "5"
    assert "ds" not in task_context(task)
    assert task_context(task, params={"x": 5})["dag_run"].conf == {"x": 5}


# --- Loops


@pytest.mark.parametrize(
    ("clickhouse", "valkey", "cause"),
    [
        ("localhost:8123", "redis://h", "clickhouse: 'localhost:8123' is no URL such as http://"),
        ("tcp://u:secret@h:9000", "redis://h", r"clickhouse: 'tcp://u:\*\*\*@h:9000' is no URL"),
        ("http://h", "h:6379", "valkey: 'h:6379' is no URL such as redis://"),
    ],
)
def test_what_is_no_address_of_a_server_is_said(clickhouse: str, valkey: str, cause: str) -> None:
    from maxy.statistics.live.log_meter import LogMeter

    with pytest.raises(ValueError, match=cause):
        run_loop(LogMeter, now=NOW, clickhouse=clickhouse, valkey=valkey)


def test_a_setting_that_there_is_not_is_said() -> None:
    from maxy.statistics.live.log_meter import LogMeter

    with pytest.raises(ValueError, match="log_meter: there is no setting lateness"):
        run_loop(LogMeter, clickhouse="http://h", valkey="redis://h", now=NOW, lateness=3)


def test_a_fake_clock_moves_when_it_is_told() -> None:
    clock = FakeClock(NOW)
    before = clock.monotonic()
    asyncio.run(clock.sleep(90))
    clock.advance(0.5)
    assert ((clock.now() - NOW).total_seconds(), clock.monotonic() - before) == (90.5, 90.5)
    with pytest.raises(ValueError, match="no time zone"):
        FakeClock(NOW.replace(tzinfo=None))


def test_nothing_of_the_package_under_test_imports_the_repositorys_own() -> None:
    code = (
        "import sys; import maxy.testing.loops, maxy.testing.tasks, maxy.testing.dags;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'tests', 'local', 'scripts', 'pytest'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT / "plugins", capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
