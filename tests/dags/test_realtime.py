"""The family of live DAGs: what the variable ``maxy_realtime`` makes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException

from maxy.loops.hash_loop import HashLoop
from maxy.loops.loop import Loop, TickResult
from maxy.loops.options import COMMON_OPTIONS, LoopSettings
from maxy.loops.registry import loop_class
from maxy.statistics.live.watch import Watch
from maxy.statistics.live_loops import LIVE_LOOPS
from tests.conftest import ROOT

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from maxy.loops.loop import Tick

FILE = ROOT / "dags" / "realtime.py"
VARIABLE = "AIRFLOW_VAR_MAXY_REALTIME"
OWN = f"{__name__}.Orders"


class Orders(Loop):
    """Counts orders."""

    name = "orders"
    period_seconds = 7.0

    async def tick(self, tick: Tick) -> TickResult:
        return TickResult()


class Nameless(Loop):
    period_seconds = 7.0

    async def tick(self, tick: Tick) -> TickResult:
        return TickResult()


class Halfway(HashLoop):
    name: ClassVar[str] = "orders"
    period_seconds = 7.0


class Watching(Watch):
    name: ClassVar[str] = "orders"


def parse(monkeypatch: pytest.MonkeyPatch, settings: Any) -> DagBag:
    monkeypatch.setenv(VARIABLE, settings if isinstance(settings, str) else json.dumps(settings))
    return DagBag(dag_folder=str(FILE))


def dags(monkeypatch: pytest.MonkeyPatch, settings: Any) -> dict[str, DAG]:
    bag = parse(monkeypatch, settings)
    assert bag.import_errors == {}
    return bag.dags


def doc_of(dag: DAG) -> str:
    assert dag.doc_md is not None
    return dag.doc_md


def description_of(dag: DAG) -> str:
    assert dag.description is not None
    return dag.description


def operator(dag: DAG) -> Any:
    (task,) = dag.tasks
    return task


def test_by_default_there_are_the_five_loops_and_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, {})
    assert sorted(found) == [
        "realtime_device",
        "realtime_loading_time",
        "realtime_log_meter",
        "realtime_page",
        "realtime_response_time",
        "realtime_watch",
    ]
    periods = {dag_id: operator(dag).settings["period_seconds"] for dag_id, dag in found.items()}
    assert periods == {
        "realtime_log_meter": 5.0,
        "realtime_loading_time": 5.0,
        "realtime_response_time": 5.0,
        "realtime_device": 30.0,
        "realtime_page": 30.0,
        "realtime_watch": 60.0,
    }


@pytest.mark.parametrize("empty", ["", "  ", "{}"])
def test_an_empty_variable_means_the_defaults(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    assert len(dags(monkeypatch, empty)) == len(LIVE_LOOPS)


def test_one_run_after_the_other_and_never_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for dag in dags(monkeypatch, {}).values():
        assert str(dag.schedule) == "@continuous"
        assert type(dag.timetable).__name__ == "ContinuousTimetable"
        assert dag.max_active_runs == 1
        assert dag.catchup is False
        assert dag.task_ids == ["run_loop"]


def test_each_dag_is_documented_by_its_loop_and_by_the_triage_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, {})
    descriptions = {doc_of(dag).split("\n\n")[0] for dag in found.values()}
    assert len(descriptions) == len(found)
    for name, path in LIVE_LOOPS.items():
        doc = doc_of(found[f"realtime_{name}"])
        assert doc.startswith((loop_class(path).__doc__ or "?").split("\n")[0])
        assert "**Triage**" in doc


def test_settings_reach_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(
        monkeypatch,
        {
            "deadline_minutes": 90,
            "loops": {
                "log_meter": {"period_seconds": 2, "lateness_seconds": 20, "log_values": False},
                "watch": {"watched": ["log_meter"], "failures": 5},
            },
        },
    )
    meter, watch, device = (operator(found[f"realtime_{name}"]) for name in ("log_meter", "watch", "device"))
    assert (meter.loop, meter.duration) == (LIVE_LOOPS["log_meter"], timedelta(minutes=90))
    assert meter.settings["period_seconds"] == 2.0
    assert meter.settings["lateness_seconds"] == 20.0
    assert meter.settings["log_values"] is False
    assert (watch.settings["watched"], watch.settings["failures"]) == (["log_meter"], 5)
    # The others have their defaults, every one of them spelled out.
    assert device.settings.keys() == {"period_seconds", *COMMON_OPTIONS, *loop_class(LIVE_LOOPS["device"]).options}
    assert device.settings["log_values"] is True


def test_what_an_operator_gets_is_plain_json_that_its_loop_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    for dag in dags(monkeypatch, {}).values():
        task = operator(dag)
        loop = loop_class(task.loop)
        again = LoopSettings.from_json(
            json.loads(json.dumps(task.settings)), options=loop.options, period_seconds=1.0, where="again"
        )
        assert again.to_json() == task.settings


def test_a_run_lasts_six_hours_by_default_and_no_timeout_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    for dag in dags(monkeypatch, {}).values():
        assert operator(dag).duration == timedelta(hours=6)
        assert operator(dag).execution_timeout > timedelta(hours=6)
    (dag,) = dags(monkeypatch, {"enabled": ["log_meter"], "deadline_minutes": 2880}).values()
    assert operator(dag).execution_timeout > timedelta(days=2)


def test_a_disabled_loop_has_no_dag_and_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, {"enabled": ["log_meter", "page", "watch"]})
    assert sorted(found) == ["realtime_log_meter", "realtime_page", "realtime_watch"]
    assert operator(found["realtime_watch"]).settings["watched"] == ["log_meter", "page"]


def test_without_any_enabled_loop_there_is_no_dag_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dags(monkeypatch, {"enabled": []}) == {}


def test_by_default_the_watch_watches_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = operator(dags(monkeypatch, {"own_loops": {"orders": OWN}})["realtime_watch"])
    assert sorted(watch.settings["watched"]) == sorted([*(LIVE_LOOPS.keys() - {"watch"}), "orders"])


def test_a_loop_of_ones_own_gets_a_dag_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, {"own_loops": {"orders": OWN}, "loops": {"orders": {"max_threads": 1}}})
    own = found["realtime_orders"]
    assert len(found) == len(LIVE_LOOPS) + 1
    assert doc_of(own).startswith("Counts orders.")
    assert (operator(own).loop, operator(own).settings["period_seconds"]) == (OWN, 7.0)
    assert operator(own).settings["max_threads"] == 1


def test_a_loop_of_ones_own_can_be_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(dags(monkeypatch, {"own_loops": {"orders": OWN}, "enabled": ["orders"]})) == ["realtime_orders"]


WRONG_AS_A_WHOLE = {
    "no JSON": ("{", "maxy_realtime: not valid JSON"),
    "no object": ([], "maxy_realtime: expected a JSON object"),
    "unknown setting": ({"loop": {}}, "maxy_realtime: there is no setting loop"),
    "deadline of 0": ({"deadline_minutes": 0}, "maxy_realtime.deadline_minutes: 0 is not a number above 0"),
    "deadline as text": ({"deadline_minutes": "360"}, "maxy_realtime.deadline_minutes: '360'"),
    "deadline as truth": ({"deadline_minutes": True}, "maxy_realtime.deadline_minutes: True"),
    "deadline without end": ('{"deadline_minutes": Infinity}', "maxy_realtime.deadline_minutes: inf"),
    "deadline that is no number": ('{"deadline_minutes": NaN}', "maxy_realtime.deadline_minutes: nan"),
    "enabled as text": ({"enabled": "log_meter"}, "maxy_realtime.enabled: 'log_meter' is not a list of names"),
    "enabled misspelt": ({"enabled": ["logmeter"]}, "maxy_realtime.enabled: there is no setting logmeter"),
    "settings of no loop": ({"loops": {"logmeter": {}}}, "maxy_realtime.loops: there is no setting logmeter"),
    "loops as list": ({"loops": []}, "maxy_realtime.loops: [] is not"),
    "a loop's settings as list": ({"loops": {"log_meter": []}}, "maxy_realtime.loops: {'log_meter': []} is not"),
    "own loops as list": ({"own_loops": [OWN]}, "maxy_realtime.own_loops"),
    "own loop of a bad name": ({"own_loops": {"My Orders": OWN}}, "maxy_realtime.own_loops"),
    "own loop of a name that is taken": (
        {"own_loops": {"page": OWN}},
        "maxy_realtime.own_loops: page is the name of one of the package's loops",
    ),
}

WRONG_FOR_ONE_LOOP = {
    "unknown option": (
        {"loops": {"log_meter": {"lateness": 1}}},
        "maxy_realtime.loops.log_meter: there is no setting lateness; there are",
    ),
    "option of another loop": (
        {"loops": {"page": {"lateness_seconds": 1, "watched": []}}},
        "maxy_realtime.loops.page: there is no setting",
    ),
    "period of 0": ({"loops": {"watch": {"period_seconds": 0}}}, "maxy_realtime.loops.watch.period_seconds: 0"),
    "period below 0": ({"loops": {"page": {"period_seconds": -5}}}, "maxy_realtime.loops.page.period_seconds: -5"),
    "period as text": ({"loops": {"device": {"period_seconds": "5 s"}}}, "maxy_realtime.loops.device.period_seconds"),
    "period as null": ({"loops": {"device": {"period_seconds": None}}}, "maxy_realtime.loops.device.period_seconds"),
    "lease": ({"loops": {"log_meter": {"lease_seconds": 0}}}, "maxy_realtime.loops.log_meter.lease_seconds: 0"),
    "threads": ({"loops": {"log_meter": {"max_threads": 1.5}}}, "maxy_realtime.loops.log_meter.max_threads: 1.5"),
    "tick limit": (
        {"loops": {"log_meter": {"tick_limit_seconds": -1}}},
        "maxy_realtime.loops.log_meter.tick_limit_seconds: -1",
    ),
    "truth as number": ({"loops": {"log_meter": {"log_values": 1}}}, "maxy_realtime.loops.log_meter.log_values: 1"),
    "truth as text": (
        {"loops": {"log_meter": {"prune_parts": "no"}}},
        "maxy_realtime.loops.log_meter.prune_parts: 'no' is not true or false",
    ),
    "lateness below 0": (
        {"loops": {"log_meter": {"lateness_seconds": -1}}},
        "maxy_realtime.loops.log_meter.lateness_seconds: -1",
    ),
    "log types": (
        {"loops": {"log_meter": {"leave_out_log_types": ["crash"]}}},
        "maxy_realtime.loops.log_meter.leave_out_log_types: ['crash'] is not a list of whole numbers",
    ),
    "log types below 0": (
        {"loops": {"log_meter": {"leave_out_log_types": [-1]}}},
        "maxy_realtime.loops.log_meter.leave_out_log_types: [-1]",
    ),
    "failures of 0": ({"loops": {"watch": {"failures": 0}}}, "maxy_realtime.loops.watch.failures: 0"),
    "watched misspelt": (
        {"loops": {"watch": {"watched": ["log_metre"]}}},
        "maxy_realtime.loops.watch.watched: log_metre is not one of the other enabled loops",
    ),
    "watched but disabled": (
        {"enabled": ["log_meter", "watch"], "loops": {"watch": {"watched": ["page", "log_meter"]}}},
        "maxy_realtime.loops.watch.watched: page is not one of the other enabled loops: log_meter",
    ),
    "watches itself": (
        {"loops": {"watch": {"watched": ["watch"]}}},
        "maxy_realtime.loops.watch.watched: watch is not one of the other enabled loops",
    ),
    "own loop without module": (
        {"own_loops": {"orders": "no_such_module.Orders"}},
        "maxy_realtime.own_loops.orders: there is no live loop at 'no_such_module.Orders'",
    ),
    "own loop without class": (
        {"own_loops": {"orders": f"{__name__}.Order"}},
        f"maxy_realtime.own_loops.orders: there is no live loop at '{__name__}.Order'",
    ),
    "own loop that is none": (
        {"own_loops": {"orders": "pathlib.Path"}},
        "maxy_realtime.own_loops.orders: 'pathlib.Path' is not a live loop",
    ),
    "own loop that calls itself otherwise": (
        {"own_loops": {"sales": OWN}},
        f"maxy_realtime.own_loops.sales: the class at '{OWN}' is the loop 'orders'",
    ),
    "own loop without a name": (
        {"own_loops": {"orders": f"{__name__}.Nameless"}},
        f"maxy_realtime.own_loops.orders: '{__name__}.Nameless' is not a whole live loop: its class lacks name",
    ),
    "own loop without its work": (
        {"own_loops": {"orders": f"{__name__}.Halfway"}},
        f"maxy_realtime.own_loops.orders: '{__name__}.Halfway' is not a whole live loop: its class lacks figures",
    ),
    "option of a loop of one's own": (
        {"own_loops": {"orders": OWN}, "loops": {"orders": {"max_threads": 0}}},
        "maxy_realtime.loops.orders.max_threads: 0",
    ),
}


@pytest.mark.parametrize(("settings", "words"), WRONG_AS_A_WHOLE.values(), ids=WRONG_AS_A_WHOLE.keys())
def test_what_is_wrong_for_all_is_an_import_error_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, settings: Any, words: str
) -> None:
    bag = parse(monkeypatch, settings)
    assert bag.dags == {}
    (error,) = bag.import_errors.values()
    # The last line is what people read.
    assert f"Airflow variable {words}" in error.strip().splitlines()[-1]


@pytest.mark.parametrize(("settings", "words"), WRONG_FOR_ONE_LOOP.values(), ids=WRONG_FOR_ONE_LOOP.keys())
def test_what_is_wrong_for_one_loop_takes_that_one_out_and_no_other(
    monkeypatch: pytest.MonkeyPatch, settings: Any, words: str
) -> None:
    found = dags(monkeypatch, settings)
    wanted = settings.get("enabled", [*LIVE_LOOPS, *settings.get("own_loops", ())])
    assert sorted(found) == sorted(f"realtime_{name}" for name in wanted)
    (refused,) = (dag for dag in found.values() if dag.timetable.can_be_scheduled is False)
    assert f"Airflow variable {words}" in description_of(refused)
    with pytest.raises(AirflowFailException, match=re.escape(f"Airflow variable {words}")):
        operator(refused).execute({})
    assert description_of(refused) in doc_of(refused)


def test_a_run_that_was_begun_before_its_settings_were_wrong_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, {"loops": {"page": {"period_seconds": -5}}})
    event = {"status": "deadline", "ticks": 7, "failures": 1}
    assert operator(found["realtime_page"]).execute_complete({}, event) == {"ticks": 7, "failures": 1}


@pytest.mark.parametrize("name", sorted(LIVE_LOOPS))
def test_every_option_of_every_loop_refuses_what_it_is_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for option in loop_class(LIVE_LOOPS[name]).options:
        found = dags(monkeypatch, {"loops": {name: {option: {"no": "option takes an object"}}}})
        words = f"maxy_realtime.loops.{name}.{option}: "
        described = [dag for dag in found.values() if words in description_of(dag)]
        # What holds for all loops is refused for one; what one loop sets concerns that one.
        assert len(described) == 1


def test_a_loop_of_ones_own_may_be_a_watch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, {"own_loops": {"orders": f"{__name__}.Watching"}, "enabled": ["log_meter", "orders"]})
    assert operator(found["realtime_orders"]).settings["watched"] == ["log_meter"]


PARSE = """
import socket, sys, time

def refuse(*_):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = refuse
from airflow.dag_processing.dagbag import DagBag

before = set(sys.modules)
start = time.perf_counter()
bag = DagBag(dag_folder=sys.argv[1])
seconds = time.perf_counter() - start
print("parsed in", round(seconds, 2), "s,", len(set(sys.modules) - before), "modules", file=sys.stderr)
assert not bag.import_errors, bag.import_errors
assert bag.dags
print("heavy:", *sorted(name for name in sys.modules if name in {"aiohttp", "clickhouse_connect", "clickhouse_driver"}))
"""


def test_parsing_imports_no_client_and_opens_no_socket() -> None:
    environment = {**os.environ, VARIABLE: "{}", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(FILE)], env=environment, capture_output=True, text=True, timeout=120
    )
    print(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "heavy:"
