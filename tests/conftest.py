"""Airflow without a database: what a test needs of it comes from the environment."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.remote import Producer
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController

ROOT = Path(__file__).resolve().parents[1]
_END_TO_END = "tests/e2e/"
# What the processes of one take, with those of the tests and a browser.
_BYTES_OF_A_STACK = 4 << 30
_CORES = os.cpu_count() or 1

# Airflow reads its configuration once, when it is imported; so this happens before any test module is.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="maxy-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW_VAR_MAXY_TIMEZONE"] = "UTC"
os.environ["AIRFLOW_VAR_MAXY_STATISTICS"] = "{}"
os.environ["AIRFLOW_VAR_MAXY_REALTIME"] = "{}"
os.environ["AIRFLOW_VAR_MAXY_METRIC_RANGES"] = "{}"
os.environ["AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH"] = "300"


def is_foreign(name: str) -> bool:
    """Whether a variable of the environment is a developer's own, by which a test could reach their servers."""
    # What the tests themselves are told: what must not be skipped, and where pictures go.
    if name.startswith("MAXY_REQUIRE_") or name == "MAXY_ARTEFACTS":
        return False
    return name.startswith(("CLICKHOUSE_", "VALKEY_", "AIRFLOW_CONN_", "MAXY_"))


for _name in filter(is_foreign, list(os.environ)):
    del os.environ[_name]

# How long an example takes says something about the machine's load, not about the code: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_unconfigure() -> None:
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the garbage collector out of it, and what was collected out of the garbage collector.

    Modules and tests are there to stay: it would look through all of them again and again as they come, which takes
    nearly half of the time, and finds next to nothing.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the end-to-end tests, which mostly wait, and of these with whatever has most of them."""
    together = {item: scope_of(item.nodeid) for item in items if item.nodeid.startswith(_END_TO_END)}
    sizes = Counter(together.values())

    def place(item: pytest.Item) -> tuple[bool, int, str]:
        scope = together.get(item)
        return (True, 0, "") if scope is None else (False, -sizes[scope], scope)

    items.sort(key=place)


def scope_of(nodeid: str) -> str:
    """Which tests run in one process: those of a file, and those of all files of a folder that has a stack."""
    path = nodeid.partition("::")[0]
    folder = path[: path.rindex("/") + 1]
    return folder if folder.startswith(_END_TO_END) and folder != _END_TO_END else path


def pytest_xdist_auto_num_workers() -> int:
    """One more process than there are cores, since the end-to-end tests mostly wait."""
    return min(_CORES, 7) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Say which tests share a process where there are several (`make test`)."""
    return ByScope(config, log)


class ByScope(LoadScopeScheduling):
    """The tests of a file, which share servers, and those of a folder that share a stack.

    A process that would start one stack too many takes other tests before.

    :param most_stacks: how many may run at once; if not given, as many as there is memory for, but no more than three,
        and no more than one for two cores: a stack that waits takes half a core, and others would wait the longer.
    """

    def __init__(self, config: pytest.Config, log: Producer, *, most_stacks: int | None = None) -> None:
        super().__init__(config, log)
        room = psutil.virtual_memory().available // _BYTES_OF_A_STACK
        self._most_stacks = most_stacks or max(1, min(3, room, _CORES // 2))

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        running = [
            scope
            for units in self.assigned_work.values()
            for scope, tests in units.items()
            if scope.startswith(_END_TO_END) and not all(tests.values())
        ]
        if len(running) >= self._most_stacks:
            other = next((scope for scope in self.workqueue if not scope.startswith(_END_TO_END)), None)
            if other is not None:
                self.workqueue.move_to_end(other, last=False)
        super()._assign_work_unit(node)
