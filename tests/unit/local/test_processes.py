from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from local.part_log import tail_of
from local.process_identity import daemons_of
from local.processes import Abandoned, Command, DetachedProcess, ProcessError
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.process_identity import Identity

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
        lambda: None if any("ready" in line for line in tail_of(process.log, 5)) else "has not printed ready",
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
    earlier = replace(identity, start=identity.start - 6000)
    (tmp_path / "run" / "mine.pid").write_text(json.dumps(asdict(earlier)))

    assert mine.running() is None
    assert mine.end_leftovers() == 0
    assert mine.stop() is False
    assert stranger.running() is not None


# --- What moves when the clock is stepped, and what does not ---


def step_clock(monkeypatch: pytest.MonkeyPatch, folder: Path, seconds: int, boot_id: str | None = None) -> None:
    """Show psutil and the code under test a /proc like that after a step of the machine's clock: another boot time.

    :param boot_id: as after a reboot.
    """
    proc = folder / f"proc{seconds}"
    proc.mkdir()
    for entry in Path("/proc").iterdir():
        if entry.name not in ("stat", "sys"):
            (proc / entry.name).symlink_to(entry)
    boot_time = re.compile(r"^btime (\d+)$", re.MULTILINE)
    text = Path("/proc/stat").read_text()
    (proc / "stat").write_text(boot_time.sub(lambda match: f"btime {int(match[1]) + seconds}", text))
    (proc / "sys/kernel/random").mkdir(parents=True)
    real = Path("/proc/sys/kernel/random/boot_id").read_text()
    (proc / "sys/kernel/random/boot_id").write_text(boot_id or real)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which macOS does not have")


@linux_only
@pytest.mark.parametrize("seconds", [-5, 5, 3600, -86_400])
def test_a_step_of_the_clock_does_not_hide_a_process(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    identity = start(make(), tmp_path, FORK)
    child = int(tail_of(make().log, 1)[0].split()[1])
    before = psutil.Process(identity.pid).create_time()
    step_clock(monkeypatch, tmp_path, seconds)
    assert psutil.Process(identity.pid).create_time() == pytest.approx(before + seconds), "the step is seen"

    assert make().running_pid() == identity.pid
    with pytest.raises(ProcessError, match="runs already"):
        make().start(command(tmp_path, SLEEP))
    assert make().stop() is True
    assert ended(identity.pid)
    assert ended(child)


@linux_only
def test_what_a_killed_process_left_behind_is_found_after_a_step_of_the_clock(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make()
    identity = start(process, tmp_path, FORK)
    child = int(tail_of(process.log, 1)[0].split()[1])
    os.kill(identity.pid, signal.SIGKILL)
    wait_for(lambda: process.running() is None)
    step_clock(monkeypatch, tmp_path, -3600)

    assert process.end_leftovers() == 1
    assert ended(child)


@linux_only
def test_the_start_of_a_process_is_told_by_the_clock_as_it_goes_now(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.time()
    identity = start(make(), tmp_path, SLEEP)
    assert before - 0.02 <= identity.started_at() <= time.time()

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert before + 3599.9 <= identity.started_at() <= real() + 3600


@linux_only
def test_of_an_earlier_boot_nothing_runs_even_where_the_pid_and_the_ticks_are_those_of_another(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, stranger = make("mine"), make("stranger")
    identity = start(stranger, tmp_path, FORK)
    (tmp_path / "run" / "mine.pid").write_text(json.dumps(asdict(identity)))
    assert mine.running_pid() == identity.pid

    with monkeypatch.context() as rebooted:
        step_clock(rebooted, tmp_path, 0, boot_id="11111111-2222-3333-4444-555555555555")
        assert mine.running() is None
        assert mine.end_leftovers() == 0
        assert mine.stop() is False
    assert stranger.running_pid() == identity.pid
    assert not ended(int(tail_of(stranger.log, 1)[0].split()[1]))


@linux_only
@pytest.mark.parametrize("seconds", [0, -5, 5, 3600])
def test_a_pid_file_of_a_former_version_is_understood_and_renewed(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    process = make()
    identity = start(process, tmp_path, SLEEP)
    pid_file = tmp_path / "run" / "part.pid"
    # The wall-clock time of the start, from a boot time that is not the present one.
    pid_file.write_text(json.dumps({"pid": identity.pid, "started": psutil.Process(identity.pid).create_time()}))
    step_clock(monkeypatch, tmp_path, seconds)

    assert process.running_pid() == identity.pid
    process.renew_pid_file()
    assert json.loads(pid_file.read_text()) == asdict(identity)
    assert process.stop() is True
    assert ended(identity.pid)


@linux_only
@pytest.mark.parametrize("ago", [60, 86_400 * 365])
def test_a_former_pid_file_does_not_claim_another_program_that_has_the_pid_now(
    make: Callable[..., DetachedProcess], tmp_path: Path, ago: float
) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    stranger = make("stranger")
    identity = start(stranger, elsewhere, SLEEP)
    mine = DetachedProcess("mine", run_dir=tmp_path / "stack" / "run", log=tmp_path / "mine.log")
    (tmp_path / "stack" / "run").mkdir(parents=True)
    record = {"pid": identity.pid, "started": psutil.Process(identity.pid).create_time() - ago}
    (tmp_path / "stack" / "run" / "mine.pid").write_text(json.dumps(record))

    assert mine.running() is None
    assert mine.stop() is False
    assert stranger.running_pid() == identity.pid


@linux_only
def test_leftovers_of_a_former_pid_file_are_found(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    identity = start(process, tmp_path, FORK)
    child = int(tail_of(process.log, 1)[0].split()[1])
    record = {"pid": identity.pid, "started": psutil.Process(identity.pid).create_time()}
    (tmp_path / "run" / "part.pid").write_text(json.dumps(record))
    os.kill(identity.pid, signal.SIGKILL)
    wait_for(lambda: ended(identity.pid))

    assert process.running() is None
    assert process.stop() is True
    assert ended(child)


def test_a_stacks_lost_processes_are_found_and_no_others(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    (folder / "data").mkdir(parents=True)
    works_inside = start(make("inside"), folder / "data", SLEEP)
    names_it = make("naming").start(
        Command(argv=[sys.executable, "-c", SLEEP, folder / "x.conf"], environment=dict(os.environ), directory=tmp_path)
    )
    start(make("elsewhere"), tmp_path, SLEEP)
    (tmp_path / "stack2").mkdir()
    start(make("neighbour"), tmp_path / "stack2", SLEEP)
    # Not a daemon: of this session, as what somebody starts by hand in that folder.
    by_hand = subprocess.Popen([sys.executable, "-c", SLEEP], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        assert {process.pid for process in daemons_of(folder)} == {works_inside.pid, names_it.pid}
    finally:
        by_hand.kill()
        by_hand.wait()


def test_a_process_whose_pid_file_cannot_be_written_is_not_left_running(
    make: Callable[..., DetachedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "part.new").mkdir(parents=True)

    with pytest.raises(ProcessError, match=r"part: .*part\.pid cannot be written"):
        make().start(command(tmp_path, SLEEP))
    # The pump of its log may only just be beginning; it ends when it finds nobody at the other side.
    eventually(lambda: daemons_of(tmp_path) == [], "nothing is left running")


# --- Ending ---


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
        process.wait_until(lambda: "asleep", timeout=20, interval=0.01, abandoned=threading.Event())
    assert "no space left on device" in str(raised.value)
    assert str(process.log) in str(raised.value)


def test_a_process_that_never_gets_ready_is_reported(make: Callable[..., DetachedProcess], tmp_path: Path) -> None:
    process = make()
    start(process, tmp_path, SLEEP)

    with pytest.raises(ProcessError, match=r"not ready within 0 s: asleep\."):
        process.wait_until(lambda: "asleep", timeout=0, abandoned=threading.Event())


def test_nobody_waits_for_it_once_something_else_has_failed(
    make: Callable[..., DetachedProcess], tmp_path: Path
) -> None:
    process = make()
    start(process, tmp_path, SLEEP)
    failed = threading.Event()
    failed.set()

    with pytest.raises(Abandoned):
        process.wait_until(lambda: "asleep", timeout=60, abandoned=failed)


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


def test_a_commands_environment_is_not_shown(tmp_path: Path) -> None:
    shown = repr(Command(argv=["server"], environment={"PASSWORD": "hidden"}, directory=tmp_path))

    assert "hidden" not in shown
