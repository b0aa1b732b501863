from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from local.processes import Abandoned, Command, DetachedProcess, Identity, ProcessError, tail_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
# Leaves a child behind that ignores the polite signal, as a pool's worker might.
FORK = """
import os, signal, time
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", os.getpid(), flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, sys, time
signals = []
def count(number, frame):
    signals.append(number)
    if len(signals) == 2:
        print("insisted", flush=True)
        sys.exit(0)
signal.signal(signal.SIGTERM, count)
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., DetachedProcess]]:
    made = []

    def make(name: str = "part", **options: object) -> DetachedProcess:
        options.setdefault("leftover_timeout", 0.2)
        process = DetachedProcess(name, run_dir=tmp_path / "run", log=tmp_path / f"{name}.log", **options)  # type: ignore[arg-type]
        made.append(process)
        return process

    yield make
    for process in made:
        process.stop()


def command(tmp_path: Path, code: str) -> Command:
    return Command(argv=[sys.executable, "-c", code], environment=dict(os.environ), directory=tmp_path)


def start(process: DetachedProcess, tmp_path: Path, code: str) -> Identity:
    identity = process.start(command(tmp_path, code))
    process.wait_until(
        lambda: any("ready" in line for line in tail_of(process.log, 5)),
        timeout=20,
        interval=0.01,
        abandoned=threading.Event(),
    )
    return identity


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_started_process_is_found_again_by_its_files(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    identity = start(make(), tmp_path, SLEEP)

    found = make().running()
    assert found is not None
    assert found.pid == identity.pid
    assert os.getsid(found.pid) == found.pid, "it leads a session of its own, away from this terminal"


def test_stop_ends_it_and_forgets_it(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    identity = start(process, tmp_path, SLEEP)

    assert process.stop() is True
    assert ended(identity.pid)
    assert process.identity() is None
    assert process.stop() is False


def test_a_recycled_pid_is_neither_taken_for_ours_nor_ended(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    mine, stranger = make("mine"), make("stranger")
    identity = start(stranger, tmp_path, SLEEP)
    (tmp_path / "run" / "mine.pid").write_text(f'{{"pid": {identity.pid}, "started": {identity.started - 60}}}')

    assert mine.running() is None
    assert mine.end_leftovers() == 0
    assert mine.stop() is False
    assert stranger.running() is not None


def test_children_are_ended_with_it_even_those_that_ignore_the_signal(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    process = make()
    start(process, tmp_path, FORK)
    child = int(tail_of(process.log, 1)[0].split()[1])

    process.stop()
    assert ended(child)


def test_what_a_killed_process_left_behind_is_found_and_ended(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    process = make()
    identity = start(process, tmp_path, FORK)
    child = int(tail_of(process.log, 1)[0].split()[1])
    os.kill(identity.pid, signal.SIGKILL)
    wait_for(lambda: process.running() is None)
    assert not ended(child)

    assert process.end_leftovers() == 1
    assert ended(child)


def test_leftovers_of_a_running_process_are_its_own(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    start(process, tmp_path, FORK)

    assert process.end_leftovers() == 0
    assert process.running() is not None


def test_whoever_works_in_the_owned_directory_belongs_to_it(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    owned = tmp_path / "owned"
    owned.mkdir()
    process = make("server", owned_directory=owned)
    identity = start(process, tmp_path, SLEEP)
    # Has left the session, as a database's backends do.
    backend = make("backend")
    backend_identity = start(backend, owned, SLEEP)
    os.kill(identity.pid, signal.SIGKILL)
    wait_for(lambda: process.running() is None)

    assert process.end_leftovers() == 1
    assert ended(backend_identity.pid)


def test_the_signal_is_repeated_for_those_who_need_telling_twice(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    process = make(insist_after=0.2, stop_timeout=10)
    start(process, tmp_path, STUBBORN)

    process.stop()
    assert tail_of(process.log, 1) == ["insisted"]


def test_a_process_that_dies_while_starting_is_reported_with_the_end_of_its_log(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    process = make("clickhouse")
    process.start(command(tmp_path, "print('no space left on device'); raise SystemExit(3)"))

    with pytest.raises(ProcessError, match="clickhouse ended while it was starting") as raised:
        process.wait_until(lambda: False, timeout=20, interval=0.01, abandoned=threading.Event())
    assert "no space left on device" in str(raised.value)
    assert str(process.log) in str(raised.value)


def test_a_process_that_never_gets_ready_is_reported(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    start(process, tmp_path, SLEEP)

    with pytest.raises(ProcessError, match=r"not ready within 0 s"):
        process.wait_until(lambda: False, timeout=0, abandoned=threading.Event())


def test_nobody_waits_for_it_once_something_else_has_failed(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    process = make()
    start(process, tmp_path, SLEEP)
    failed = threading.Event()
    failed.set()

    with pytest.raises(Abandoned):
        process.wait_until(lambda: False, timeout=60, abandoned=failed)


def test_it_is_not_started_twice(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    start(make(), tmp_path, SLEEP)

    with pytest.raises(ProcessError, match="runs already"):
        make().start(command(tmp_path, SLEEP))


def test_a_process_that_belongs_to_another_user_is_named(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make()
    identity = start(process, tmp_path, SLEEP)

    def refuse(self: psutil.Process, _number: int) -> None:
        raise psutil.AccessDenied(self.pid)

    with monkeypatch.context() as patched:
        patched.setattr(psutil.Process, "send_signal", refuse)
        with pytest.raises(ProcessError, match=f"process {identity.pid} .* another user"):
            process.stop()
    assert process.running() is not None


def test_a_missing_program_is_named(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    missing = Command(argv=[tmp_path / "no-such-server"], environment={}, directory=tmp_path)

    with pytest.raises(ProcessError, match="no-such-server"):
        make().start(missing)


def test_a_damaged_pid_file_is_named(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    pid_file = tmp_path / "run" / "part.pid"
    pid_file.parent.mkdir()
    pid_file.write_text("12")

    with pytest.raises(ProcessError, match=r"part\.pid is damaged"):
        process.running()
    pid_file.unlink()


def test_a_large_log_is_put_aside_at_the_next_start(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    with process.log.open("wb") as log:
        log.truncate(20_000_001)

    start(process, tmp_path, SLEEP)
    assert process.log.stat().st_size < 100
    assert (tmp_path / "part.log.1").stat().st_size == 20_000_001


def test_a_commands_environment_is_not_shown(tmp_path: Path) -> None:
    shown = repr(Command(argv=["server"], environment={"PASSWORD": "hidden"}, directory=tmp_path))

    assert "hidden" not in shown


def test_tail_of_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert tail_of(tmp_path / "none.log", 5) == []
