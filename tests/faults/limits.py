"""Few open files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.rig import Rig


def try_all(rig: Rig) -> None:
    rig.expect("ulimit -n 256, hard too", "up says so; all parts work", lambda: _few_files(rig))
    rig.expect("ulimit -n 256, soft alone", "the parts have the hard limit", lambda: _raised(rig))


def _few_files(rig: Rig) -> str:
    rig.run("down").must_succeed()
    up = rig.run("up", prefix=["prlimit", "--nofile=256:256"]).must_succeed()
    warnings = up.lines("warning: the parts may have only 256 files")
    assert len(warnings) == 1, up.text
    rig.wait_for_status()
    return warnings[0]


def _raised(rig: Rig) -> str:
    rig.run("down").must_succeed()
    up = rig.run("up", prefix=["prlimit", "--nofile=256:8192"]).must_succeed()
    assert not up.lines("warning"), up.text
    limits = Path(f"/proc/{rig.stack.pids()['clickhouse']}/limits").read_text()
    seen = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert seen == "8192", limits
    rig.run("down").must_succeed()
    rig.run("up").must_succeed()
    return f"ClickHouse's soft limit: {seen}"
