"""What holds for every DAG of the package."""

from __future__ import annotations

import ast
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from maxy.dag_defaults import DEFAULT_ARGS, Tag
from maxy.families import families_with_loops, load_families
from maxy.paths import SQL_DIRECTORY
from maxy.run_parameters import check_run_parameters
from tests.conftest import ROOT

if TYPE_CHECKING:
    from airflow.sdk import DAG

DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
# A file may hold a family of alike DAGs, <file>_<member>; any other DAG bears its file's name. So the ids are known
# before anything is parsed.
FAMILIES = {"realtime": tuple(name for _, loops in families_with_loops() for name in loops.classes)}
DAG_IDS = sorted(
    f"{path.stem}_{member}" if member else path.stem for path in DAG_FILES for member in FAMILIES.get(path.stem, ("",))
)


@pytest.fixture(params=DAG_IDS)
def dag(request: pytest.FixtureRequest, dag_bag: DagBag) -> DAG:
    return dag_bag.dags[request.param]


def test_files_parse_without_errors(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert sorted(dag_bag.dags) == DAG_IDS


def test_a_dag_lies_in_the_file_that_its_id_names(dag: DAG) -> None:
    name = Path(dag.fileloc).stem
    member = dag.dag_id.removeprefix(name).removeprefix("_")
    assert dag.dag_id in (name, f"{name}_{member}")
    assert member in FAMILIES.get(name, ("",))


def test_the_list_of_dags_says_what_each_does(dag: DAG) -> None:
    assert dag.doc_md is not None
    lines = [line.strip() for line in dag.doc_md.splitlines() if line.strip()]
    assert dag.description == lines[0]
    assert len(lines[0]) > 20


def test_parsing_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a DAG file opened a network connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    bag = DagBag(dag_folder=str(ROOT / "dags"))
    assert bag.import_errors == {}
    assert bag.dags


def test_serialization_round_trip_keeps_the_dag(dag: DAG) -> None:
    serialized = DagSerialization.to_dict(dag)
    again = DagSerialization.from_dict(serialized)
    assert again.dag_id == dag.dag_id
    assert set(again.task_ids) == set(dag.task_ids)
    for task in dag.tasks:
        assert again.get_task(task.task_id).downstream_task_ids == task.downstream_task_ids


def test_documented_with_triage_notes(dag: DAG) -> None:
    assert dag.doc_md is not None
    assert "**Triage**" in dag.doc_md
    for task in dag.tasks:
        # check_columns and check_table are explained together, as check_…
        assert f"`{task.task_id}`" in dag.doc_md or f"`{task.task_id.split('_')[0]}_…`" in dag.doc_md


def test_schedule_and_limits_are_explicit(dag: DAG) -> None:
    source = ast.parse(Path(dag.fileloc).read_text(encoding="utf-8"))
    (call,) = [
        node
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DAG"
    ]
    assert {"schedule", "catchup", "max_active_runs", "start_date", "default_args", "tags"} <= {
        keyword.arg for keyword in call.keywords
    }


def test_tags_are_of_the_vocabulary_one_of_each_kind(dag: DAG) -> None:
    assert set(dag.tags) <= {*map(str, Tag), *(family.tag for family in load_families())}
    assert sorted(tag.split(":")[0] for tag in dag.tags) == ["cadence", "domain", "tier"]


def test_every_task_retries_and_reports_failure(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.owner == DEFAULT_ARGS["owner"]
        assert task.retries is not None
        assert task.retries >= 2
        assert task.retry_exponential_backoff
        assert task.execution_timeout is not None
        assert task.on_failure_callback


def test_every_task_refuses_what_the_dag_cannot_be_asked(dag: DAG) -> None:
    for task in dag.tasks:
        assert isinstance(task, BaseOperator)
        assert task._pre_execute_hook is check_run_parameters
        dag_run = SimpleNamespace(conf={"statdate": "2026-11-01"})
        context: Any = {"task": task, "dag_run": dag_run, "params": {}}
        with pytest.raises(AirflowFailException, match=f"'statdate' is no parameter of {dag.dag_id}"):
            task._pre_execute_hook(context)


def test_pools_are_in_the_settings(dag: DAG) -> None:
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))["airflow"]
    pools = {pool["pool_name"] for pool in settings["pools"]} | {"default_pool"}
    assert {task.pool for task in dag.tasks} <= pools


@pytest.mark.parametrize("path", sorted((ROOT / "include" / "sql").rglob("*.sql")), ids=lambda path: path.name)
def test_sql_files_say_what_they_do_and_why_a_retry_is_safe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    header = text[: text.index("\n\n")] if "\n\n" in text else text
    for word in ("Purpose:", "Source:", "Grain:", "Safe to retry"):
        assert word in header, f"{path.relative_to(SQL_DIRECTORY)}: its header lacks {word!r}"
    assert "SELECT *" not in text.upper()


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_dag_files_read_no_variables_and_import_nothing_local(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name for name in imported if name.split(".")[0] in {"local", "tests", "scripts"}}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"Variable", "Connection", "open", "print"}
