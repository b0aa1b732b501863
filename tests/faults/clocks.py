"""The machine's clock is stepped; a part's clock goes apart from the machine's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.rig import Rig

STEPS = (5, -5, 3600)
_SHIM = Path(__file__).with_name("clock_offset.c")


def try_all(rig: Rig) -> None:
    for step in STEPS:
        rig.expect(
            f"clock stepped by {step:+} s",
            "status, up, stop know all processes",
            partial(_step, rig, step),
        )
    rig.expect("the same, former pid files", "they are understood", lambda: _former_files(rig))
    rig.expect("suspended, clock +1 h", "works again within 2 minutes", lambda: _suspend(rig))
    if shutil.which("cc") is None:
        rig.skip("a part's clock goes ahead", "no C compiler (cc) for the library that moves one")
        return
    for part, program in (("valkey", "valkey-server"), ("postgres", "postgres")):
        rig.expect(f"{part}'s clock 7 s ahead", "status warns", partial(_offset, rig, part, program))


@contextmanager
def stepped_clock(seconds: int) -> Iterator[None]:
    """What processes see of a step of the machine's clock: another time of its boot."""
    text = Path("/proc/stat").read_text()
    changed = re.sub(r"^btime (\d+)$", lambda match: f"btime {int(match[1]) + seconds}", text, flags=re.MULTILINE)
    fake = Path(f"/tmp/maxy-faults-stat-{os.getpid()}")
    fake.write_text(changed)
    subprocess.run(["mount", "--bind", fake, "/proc/stat"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "/proc/stat"], check=True)
        fake.unlink()


def _step(rig: Rig, seconds: int) -> str:
    rig.run("up").must_succeed()
    before = rig.stack.pids()
    parts = _running(rig)
    with stepped_clock(seconds):
        status = rig.run("status").must_succeed()
        assert len(status.lines(" running ")) == parts, status.text
        again = rig.run("up").must_succeed()
        assert len(again.lines("already running")) == parts, again.text
        assert rig.stack.pids() == before
        if seconds != STEPS[-1]:
            return f"{parts} running, {parts} already running"
        stopped = rig.run("down").must_succeed()
        assert not [line for line in stopped.lines("was not running") if "feed" not in line], stopped.text
        assert rig.processes() == [], rig.processes()
    rig.run("up").must_succeed()
    return f"{parts} running, {parts} already running, {parts} stopped, none left"


def _former_files(rig: Rig) -> str:
    """As the version before wrote them: a pid and the wall-clock time of the start."""
    parts = _running(rig)
    (boot_time,) = map(int, re.findall(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE))
    for file in (rig.local_dir / "run").glob("*.pid"):
        record = json.loads(file.read_text())
        started = boot_time + record["start"] / os.sysconf("SC_CLK_TCK")
        file.write_text(json.dumps({"pid": record["pid"], "started": started}))
    assert len(rig.run("status").must_succeed().lines(" running ")) == parts
    with stepped_clock(3600):
        assert len(rig.run("status").must_succeed().lines(" running ")) == parts
        rig.run("down").must_succeed()
    assert rig.processes() == [], rig.processes()
    rig.run("up").must_succeed()
    return f"{parts} running with and without a step, {parts} stopped, none left"


def _running(rig: Rig) -> int:
    return sum(pid is not None for pid in rig.stack.pids().values())


def _suspend(rig: Rig) -> str:
    count = rig.signal_all(signal.SIGSTOP)
    try:
        with stepped_clock(3600):
            frozen = rig.run("status").must_fail()
    finally:
        rig.signal_all(signal.SIGCONT)
    with stepped_clock(3600):
        rig.wait_for_status()
        return f"{count} processes stood still: {len(frozen.lines('NOT ANSWERING'))} parts NOT ANSWERING; then all work"


def _offset(rig: Rig, part: str, program: str) -> str:
    library = rig.folder / "clock_offset.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, _SHIM, "-ldl"], check=True)
    library.chmod(0o755)
    _kill(rig, part)
    moved = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_PROGRAM": program, "CLOCK_OFFSET": "7"}
    rig.run("up", variables=moved).must_succeed()
    warnings = rig.run("status").must_be_clear().lines("warning: the clock of", part)
    _kill(rig, part)
    rig.run("up").must_succeed()
    assert len(warnings) == 1, warnings
    assert not rig.wait_for_status().lines("warning: the clock of")
    return f"{warnings[0]}; nothing after its restart"


def _kill(rig: Rig, part: str) -> None:
    pid = rig.stack.pids()[part]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while rig.stack.pids()[part] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
