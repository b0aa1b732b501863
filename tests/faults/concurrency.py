"""Two commands at once: each pair of the same, and those that work against each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from local.statistics.sample_data.generator import SampleData, page_flow_rows

if TYPE_CHECKING:
    from tests.faults.rig import Result, Rig

DAYS = 8
SCALE = 0.1
_SAMPLE = ("--days", str(DAYS), "--scale", str(SCALE))


def try_all(rig: Rig) -> None:
    rig.expect("seed + seed", "each row once", lambda: _seed_twice(rig))
    rig.expect("run + run", "each row once, both end with 0", lambda: _run_twice(rig))
    rig.expect("backfill + backfill", "both end with 0", lambda: _backfill_twice(rig))
    for command in ("status", "report", "logs"):
        rig.expect(f"{command} + {command}", "both end with 0", partial(_both_succeed, rig, (command,), (command,)))
    rig.expect("down + down", "both end with 0, nothing runs", lambda: _down_twice(rig))
    rig.expect("up + up", "both end with 0, one stack", lambda: _both_succeed(rig, ("up",), ("up",)))
    rig.expect("down during a backfill", "the stack stops, backfill says why it ends", lambda: _down_in_backfill(rig))
    rig.expect("down + run", "each ends with 0 or a clear message", lambda: _against(rig, ("down",), ("run", *_SAMPLE)))
    rig.expect("seed + down", "each ends with 0 or a clear message", lambda: _against(rig, ("seed",), ("down",)))
    rig.expect("clean + up", "each ends with 0 or a clear message", lambda: _against(rig, ("clean",), ("up",)))
    rig.expect("clean + clean", "both end with 0, nothing left", lambda: _clean_twice(rig))
    rig.run("up").must_succeed()


def _together(rig: Rig, *commands: tuple[str, ...]) -> list[Result]:
    processes = [rig.start(*command) for command in commands]
    return [rig.finish(process).must_be_clear() for process in processes]


def _both_succeed(rig: Rig, *commands: tuple[str, ...]) -> str:
    for result in _together(rig, *commands):
        result.must_succeed()
    return "0 and 0"


def _expected_visits() -> dict[str, int]:
    """Visits of each full day from the rows that are delivered once, as migration 003 counts them.

    Without yesterday, of which rows may still arrive.
    """
    today = datetime.now(UTC).date()
    data = SampleData(scale=SCALE)
    return {
        day.isoformat(): sum(
            row["log_type"] in (1048597, 1048580) and row["server_type"] is not None
            for row in page_flow_rows(data.page_flow(day))
        )
        for day in (today - timedelta(days=back) for back in range(2, DAYS + 1))
    }


def _assert_each_row_once(rig: Rig) -> str:
    answer = rig.stack.stack.clickhouse.query(
        "SELECT log_date, sum(visit_cnt) FROM maxy_device_access_history GROUP BY log_date", default_format="TSV"
    )
    stored = {day: int(visits) for day, visits in (line.split("\t") for line in answer.splitlines())}
    expected = _expected_visits()
    assert {day: stored.get(day) for day in expected} == expected
    return f"{sum(expected.values()):,} visits of {len(expected)} days, as generated"


def _seed_twice(rig: Rig) -> str:
    first, second = (result.must_succeed() for result in _together(rig, ("seed", *_SAMPLE), ("seed", *_SAMPLE)))
    waited = [result for result in (first, second) if result.lines("another command (`seed`, pid")]
    return f"{_assert_each_row_once(rig)}; {len(waited)} waited"


def _run_twice(rig: Rig) -> str:
    """From nothing, as in a second terminal of somebody who is impatient."""
    rig.run("clean").must_succeed()
    rig.refresh()
    for result in _together(rig, ("run", *_SAMPLE), ("run", *_SAMPLE)):
        result.must_succeed()
    return f"{_assert_each_row_once(rig)}; 0 and 0"


def _backfill_twice(rig: Rig) -> str:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    days = ("--from", str(yesterday - timedelta(days=2)), "--to", str(yesterday), "--reprocess", "completed")
    results = [result.must_succeed() for result in _together(rig, ("backfill", *days), ("backfill", *days))]
    assert all(result.lines("3 of 3 days done") for result in results), results
    return "3 of 3 days done, twice"


def _down_twice(rig: Rig) -> str:
    _both_succeed(rig, ("down",), ("down",))
    assert rig.processes() == [], rig.processes()
    return "0 and 0, no process left"


def _down_in_backfill(rig: Rig) -> str:
    """The backfill holds no lock while it waits, so the stack can be stopped and started under it."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    days = ("--from", str(yesterday - timedelta(days=5)), "--to", str(yesterday), "--reprocess", "completed")
    backfill = rig.start("backfill", *days)
    assert backfill.stdout is not None
    # Its first line comes once it is at work.
    first = backfill.stdout.readline()
    stopped = rig.run("down").must_succeed()
    assert not stopped.lines("another command"), stopped.text
    assert rig.processes() == [] or all(process.pid == backfill.pid for process in rig.processes())
    rig.run("up").must_succeed()
    result = rig.finish(backfill).must_be_clear()
    return f"{first.strip()[:60]} ... {result.text.strip().splitlines()[-1][:120]} ({result.status})"


def _against(rig: Rig, *commands: tuple[str, ...]) -> str:
    """Whatever the order was: afterwards the stack comes up, all works, and each row is there once."""
    results = _together(rig, *commands)
    rig.refresh()
    rig.run("up").must_succeed()
    rig.wait_for_status()
    rig.run("seed", *_SAMPLE).must_succeed()
    seen = _assert_each_row_once(rig)
    ends = ", ".join(f"{result.command.split()[0]} {result.status}" for result in results)
    words = [result.text.strip().splitlines()[-1][:100] for result in results if result.status]
    return f"{ends}{''.join(f' ({text})' for text in words)}; then up, status, seed: 0, {seen}"


def _clean_twice(rig: Rig) -> str:
    _both_succeed(rig, ("clean",), ("clean",))
    assert rig.processes() == [], rig.processes()
    assert not rig.local_dir.exists(), list(rig.local_dir.iterdir())
    rig.refresh()
    return "0 and 0, no process and no folder left"
