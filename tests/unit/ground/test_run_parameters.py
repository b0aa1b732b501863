"""What a run may be asked, for any DAG of the package."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from maxy.dag_defaults import DEFAULT_ARGS
from maxy.run_parameters import check_run_parameters

DAILY = ("stat_date", "allow_empty", "cache_only")


def context(
    conf: dict[str, Any] | None, *, dag: tuple[str, ...] = DAILY, task: tuple[str, ...] = (), applied: bool = True
) -> Any:
    """A task's context, as far as parameters go.

    :param dag: the parameters of the DAG.
    :param task: the parameters of the task alone.
    :param applied: whether Airflow lets conf override parameters.
    """
    defaults = dict.fromkeys((*dag, *task))
    return {
        "dag_run": SimpleNamespace(conf=conf),
        "params": {**defaults, **(conf or {})} if applied else defaults,
        "task": SimpleNamespace(
            dag_id="the_dag", dag=SimpleNamespace(params=dict.fromkeys(dag)), params=dict.fromkeys(task)
        ),
    }


@pytest.mark.parametrize(
    "conf",
    [None, {}, {"stat_date": "2026-11-01"}, {"stat_date": None, "allow_empty": False, "cache_only": False}],
)
def test_parameters_of_the_dag_pass(conf: dict[str, Any] | None) -> None:
    check_run_parameters(context(conf))


def test_parameters_of_the_task_alone_pass() -> None:
    check_run_parameters(context({"depth": 3}, task=("depth",)))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("statdate", "stat_date"),
        ("stat-date", "stat_date"),
        ("Stat_Date", "stat_date"),
        ("start_date", "stat_date"),
        ("STAT DATE", "stat_date"),
        ("allow_emtpy", "allow_empty"),
        ("allowEmpty", "allow_empty"),
        ("cacheonly", "cache_only"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(AirflowFailException) as refused:
        check_run_parameters(context({name: "2026-11-01"}))
    text = str(refused.value)
    assert f"conf: {name!r} is no parameter of the_dag; it has stat_date, allow_empty, cache_only" in text
    assert f"Did you mean {meant} for {name!r}?" in text


def test_a_name_like_none_is_refused_without_a_guess_and_all_are_named() -> None:
    with pytest.raises(AirflowFailException) as refused:
        check_run_parameters(context({"stat_date": "2026-11-01", "colour": "red", "größe": 1, "": 0}))
    assert "conf: 'colour', 'größe', '' are no parameters of the_dag" in str(refused.value)
    assert "Did you mean" not in str(refused.value)


def test_a_dag_without_parameters_takes_no_conf() -> None:
    with pytest.raises(AirflowFailException, match="'log_values' is no parameter of the_dag; it has none"):
        check_run_parameters(context({"log_values": True}, dag=()))
    check_run_parameters(context({}, dag=()))


def test_conf_that_airflow_does_not_apply_is_refused_with_both_values() -> None:
    # The setting core.dag_run_conf_overrides_params = False.
    with pytest.raises(AirflowFailException, match=r"stat_date='2026-11-01'.*stat_date=None.*overrides_params"):
        check_run_parameters(context({"stat_date": "2026-11-01"}, applied=False))


def test_every_dag_of_the_package_has_it_by_default() -> None:
    assert DEFAULT_ARGS["pre_execute"] is check_run_parameters
