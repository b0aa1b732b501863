"""How many statements run at once, and in which order the others do."""

from __future__ import annotations

import threading

import pytest

from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.limits import Limits, StatementGate


class Visitors:
    """Threads that pass a gate one after the other and stay until they are told to go."""

    def __init__(self, gate: StatementGate) -> None:
        self.gate = gate
        self.inside: list[str] = []
        self.leave: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def send(self, name: str) -> None:
        """Send one to the gate, and wait until it is in or in the queue."""
        before = self.gate.running + self.gate.waiting
        self.leave[name] = threading.Event()
        thread = threading.Thread(target=self._visit, args=(name,))
        self.threads.append(thread)
        thread.start()
        eventually(lambda: self.gate.running + self.gate.waiting == before + 1)

    def _visit(self, name: str) -> None:
        with self.gate.turn():
            self.inside.append(name)
            self.leave[name].wait(10)

    def join(self) -> None:
        for event in self.leave.values():
            event.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_no_more_run_than_allowed_and_the_others_in_their_order() -> None:
    visitors = Visitors(StatementGate(Limits(max_concurrent_statements=2)))
    for name in "abcd":
        visitors.send(name)
    eventually(lambda: len(visitors.inside) == 2)
    assert (visitors.inside, visitors.gate.running, visitors.gate.waiting) == (["a", "b"], 2, 2)
    visitors.leave["b"].set()
    eventually(lambda: len(visitors.inside) == 3)
    assert visitors.inside[2] == "c"
    visitors.leave["a"].set()
    eventually(lambda: len(visitors.inside) == 4)
    assert visitors.inside[3] == "d"
    visitors.join()
    assert (visitors.gate.running, visitors.gate.waiting) == (0, 0)


def test_who_waits_too_long_is_refused_and_the_next_is_not_held_up() -> None:
    gate = StatementGate(Limits(max_concurrent_statements=1, queue_seconds=0.01))
    with gate.turn():
        with pytest.raises(EngineError, match=r"1 run, and none ended within 0\.01 s") as refused, gate.turn():
            raise AssertionError("it was let in")
        assert refused.value.code == 202
        assert gate.waiting == 0
    with gate.turn():
        assert gate.running == 1


def test_who_is_cancelled_does_not_wait() -> None:
    gate = StatementGate(Limits(max_concurrent_statements=1))
    with gate.turn():
        with pytest.raises(EngineError) as refused, gate.turn(lambda: True):
            raise AssertionError("it was let in")
        assert (refused.value.code, gate.waiting) == (394, 0)


def test_a_turn_ends_with_an_error_too() -> None:
    gate = StatementGate(Limits(max_concurrent_statements=1))
    with pytest.raises(KeyError), gate.turn():
        raise KeyError
    assert gate.running == 0


@pytest.mark.parametrize("name", ["max_concurrent_statements", "queue_seconds", "max_request_bytes", "idle_seconds"])
def test_a_bound_that_admits_nothing_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0, not 0"):
        Limits(**{name: 0})
