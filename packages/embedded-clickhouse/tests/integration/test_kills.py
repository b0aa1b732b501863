"""kill -9 under writers and a running mutation, again and again; and what counts the rows afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clickhouse_benchmarks.soak.kills import Kills, Ledger, State

if TYPE_CHECKING:
    from pathlib import Path

_OPEN_SECONDS = 30.0


def test_what_was_acknowledged_is_there_once_after_each_kill_and_nothing_else_is_in_part(tmp_path: Path) -> None:
    lines: list[str] = []
    result = Kills(tmp_path, seed=4, report=lines.append).run(3)
    assert result.faults == [], "\n".join(lines)
    assert result.rounds == 3
    assert result.acknowledged > 0
    assert max(result.open_seconds) < _OPEN_SECONDS
    assert result.exit_status == 0
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")


@pytest.fixture
def ledger() -> Ledger:
    """One acknowledged insert of three rows, one left in its middle, one without an answer; and a mutation since."""
    ledger = Ledger()
    for _ in range(3):
        ledger.begin(1, 3)
    ledger.acknowledge(ledger.inserts[1, 0])
    ledger.inserts[1, 1].state = State.ABANDONED
    ledger.inserts[1, 2].state = State.SENT
    ledger.mutations_begun = ledger.mutations_acknowledged = 1
    return ledger


_WHOLE = [1, 0, 3, 3, 2, 0, 1, 1]


@pytest.mark.parametrize("unanswered", [[], [[1, 2, 3, 3, 2, 0, 0, 0]], [[1, 2, 3, 3, 2, 0, 1, 1]]])
def test_what_may_be_is_no_fault(ledger: Ledger, unanswered: list[list[int]]) -> None:
    assert ledger.faults([_WHOLE, *unanswered]) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "acknowledged and lost"),
        ([[1, 0, 2, 2, 1, 0, 1, 1]], "2 rows of 3"),
        ([[1, 0, 6, 3, 2, 0, 1, 1]], "6 rows of 3"),
        ([[1, 0, 3, 2, 2, 0, 1, 1]], "2 different"),
        ([[1, 0, 3, 3, 2, 1, 1, 1]], "1 texts"),
        ([[1, 0, 3, 3, 2, 0, 0, 1]], "0 to 1 of 1 mutations"),
        ([[1, 0, 3, 3, 2, 0, 2, 2]], "2 to 2 of 1 mutations"),
        ([_WHOLE, [1, 1, 3, 3, 2, 0, 0, 0]], "never was complete"),
        ([_WHOLE, [1, 2, 2, 2, 1, 0, 0, 0]], "2 rows of 3"),
        ([_WHOLE, [2, 0, 3, 3, 2, 0, 0, 0]], "nobody sent it"),
    ],
)
def test_what_must_not_be_is_a_fault(ledger: Ledger, found: list[list[int]], words: str) -> None:
    (fault,) = ledger.faults(found)
    assert words in fault
