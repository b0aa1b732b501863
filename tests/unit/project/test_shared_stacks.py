"""Which tests share a process in `make test`, and how many stacks run at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from xdist.remote import Producer

from tests.conftest import ByScope

E2E = [f"tests/e2e/shared/test_{name}.py::test_{number}" for name in ("a", "b") for number in range(3)]
PAGES = [f"tests/e2e/test_pages.py::test_{number}" for number in range(3)]
UNIT = [f"tests/unit/test_{name}.py::test_{number}" for name in ("c", "d", "e") for number in range(3)]


class Process:
    """Notes which tests it is given."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name, spec="popen")
        self.shutting_down = False
        self.given: list[str] = []

    def send_runtest_some(self, indexes: list[int]) -> None:
        self.given += [(E2E + PAGES + UNIT)[index] for index in indexes]

    def shutdown(self) -> None:
        self.shutting_down = True


def started(count: int, *, most_stacks: int) -> tuple[Any, list[Process]]:
    """A scheduler that has given work to processes."""
    config = SimpleNamespace(getvalue=lambda name: ["popen"] * count, option=SimpleNamespace(loadscopereorder=False))
    scheduler = ByScope(config, Producer("test", enabled=False), most_stacks=most_stacks)  # type: ignore[arg-type]
    processes = [Process(f"gw{number}") for number in range(count)]
    for process in processes:
        scheduler.add_node(process)
    for process in processes:
        scheduler.add_node_collection(process, E2E + PAGES + UNIT)
    scheduler.schedule()
    return scheduler, processes


def finish(scheduler: Any, process: Process, tests: list[str]) -> None:
    for test in tests:
        scheduler.mark_test_complete(process, (E2E + PAGES + UNIT).index(test))


def test_files_that_share_a_stack_share_a_process() -> None:
    _, (first, second, third) = started(3, most_stacks=3)
    assert first.given == E2E
    assert second.given == PAGES
    assert third.given == UNIT[:3]


def test_other_tests_come_before_a_stack_too_many() -> None:
    scheduler, (first, second) = started(2, most_stacks=1)
    assert first.given == E2E
    assert second.given == UNIT[:3]
    finish(scheduler, second, UNIT[:1])
    assert second.given == UNIT[:6]
    # Work is given before the last tests of a file have ended, so one more file comes before the next stack.
    finish(scheduler, first, E2E)
    assert first.given == E2E + UNIT[6:]
    finish(scheduler, first, UNIT[6:7])
    assert first.given == E2E + UNIT[6:] + PAGES


def test_the_last_stack_is_not_kept_waiting_when_nothing_else_is_left() -> None:
    scheduler, (first, second) = started(2, most_stacks=1)
    finish(scheduler, second, UNIT)
    assert second.given == UNIT + PAGES
    assert first.given == E2E
