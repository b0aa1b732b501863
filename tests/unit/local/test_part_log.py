"""A part's log: nothing is lost, whatever is killed or put aside, and its size is bounded."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from local.log_pump import RotatedLog
from local.part_log import FollowedLog, PartLog, tail_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGEST = 20_000
KEPT = 200
WRITER = """
import os
for number in range({first}, {last}): os.write(1, b'{name} %06d %s\\n' % (number, b'x' * (number % 90)))
""".strip()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PartLog]:
    log = PartLog(tmp_path / "logs" / "part.log", lock=tmp_path / "run" / "part.log.lock", largest=LARGEST, kept=KEPT)
    yield log
    assert log.wait_until_written(10)


def start(log: PartLog, code: str) -> subprocess.Popen[bytes]:
    with log.opened() as output:
        return subprocess.Popen([sys.executable, "-c", code], stdout=output)


def files(path: Path) -> list[Path]:
    """The oldest first."""
    aside = [path.with_name(f"{path.name}.{number}") for number in range(KEPT + 1, 0, -1)]
    return [file for file in [*aside, path] if file.exists()]


def content(path: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files(path))


def numbers(path: Path, name: str) -> list[int]:
    return [int(number) for number in re.findall(rf"^{name} (\d+) x*$", content(path), re.MULTILINE)]


def test_a_fast_writers_lines_are_all_there_in_order_and_files_end_between_lines(log: PartLog) -> None:
    writer = start(log, WRITER.format(name="line", first=0, last=20_000))
    assert writer.wait(60) == 0
    assert log.wait_until_written(60)

    assert numbers(log.path, "line") == list(range(20_000))
    parts = files(log.path)
    assert len(parts) > 10
    assert all(part.read_bytes().endswith(b"\n") for part in parts)
    # A chunk of the pipe may come on top.
    assert all(LARGEST <= part.stat().st_size <= LARGEST + 65_536 for part in parts[:-1])
    assert all(part.stat().st_mode & 0o777 == 0o600 for part in parts)


def test_no_more_files_are_kept_than_said(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    log = RotatedLog(str(path), largest=100, kept=2)
    for number in range(50):
        log.write(b"%06d %s\n" % (number, b"y" * 50))

    assert sorted(file.name for file in tmp_path.iterdir()) == ["part.log", "part.log.1", "part.log.2"]
    # Two lines make 116 bytes.
    assert [len(file.read_text().splitlines()) for file in files(path)] == [2, 2, 2]
    assert [int(line.split()[0]) for line in content(path).splitlines()] == [44, 45, 46, 47, 48, 49]


def test_what_a_killed_part_and_its_child_wrote_is_there_and_the_next_one_adds_to_it(log: PartLog) -> None:
    forking = (
        "import os, sys, time\nif os.fork() == 0:\n    sys.stdin.read(1)\n    "
        + WRITER.format(name="child", first=0, last=500).replace("\n", "\n    ")
        + "\n    os._exit(0)\n"
        + WRITER.format(name="parent", first=0, last=500)
        + "\nos.write(2, b'.')\ntime.sleep(600)"
    )
    with log.opened() as output:
        parent = subprocess.Popen(
            [sys.executable, "-c", forking], stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE
        )
    assert parent.stdin
    assert parent.stderr
    assert parent.stderr.read(1) == b"."
    parent.kill()
    parent.wait()
    # The child still writes while the next one does.
    assert log.wait_until_written(0) is False
    successor = start(log, WRITER.format(name="next", first=0, last=500))
    parent.stdin.close()
    assert successor.wait(60) == 0
    assert log.wait_until_written(60)
    parent.stderr.close()

    for name in ("parent", "child", "next"):
        assert numbers(log.path, name) == list(range(500)), name


def test_the_pump_outlives_the_signals_that_end_a_part(log: PartLog) -> None:
    writer = start(log, "import time; print('ready', flush=True); time.sleep(600)")
    try:
        while tail_of(log.path, 1) != ["ready"]:
            assert writer.poll() is None
        # The pumps of other tests' logs may be about to end.
        (pump,) = [child for child in psutil.Process().children() if str(log.path) in child.cmdline()]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            pump.send_signal(number)
        assert pump.is_running()
    finally:
        writer.send_signal(signal.SIGTERM)
        writer.wait()

    assert log.wait_until_written(60)
    assert tail_of(log.path, 5) == ["ready"]


def test_a_line_that_never_ends_does_not_keep_the_file_from_being_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    log = RotatedLog(str(path), largest=1_000, kept=KEPT)
    for _ in range(40):
        log.write(b"z" * 65_536)

    parts = files(path)
    assert len(parts) == 3
    assert sum(part.stat().st_size for part in parts) == 40 * 65_536


def test_a_full_disk_costs_lines_but_neither_the_part_nor_its_next_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.log"
    log = RotatedLog(str(path), largest=1_000, kept=1)
    log.write(b"before\n")

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        log.write(b"lost\n")
        log.write(b"lost too\n")
    log.write(b"after\n")

    assert path.read_text() == "before\n\n[14 bytes of this log are lost: No space left on device]\nafter\n"


def test_a_log_that_was_removed_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "part.log"
    log = RotatedLog(str(path), largest=1_000, kept=1)
    log.write(b"first\n")
    path.unlink()
    path.parent.rmdir()
    log.write(b"second\n")

    assert path.read_text() == "second\n"


@pytest.mark.parametrize("aside", [0, 1, 3])
def test_following_a_log_loses_nothing_when_it_is_put_aside(tmp_path: Path, aside: int) -> None:
    path = tmp_path / "part.log"
    path.write_text("long ago\n")
    followed = FollowedLog(path)
    with path.open("a") as old:
        old.write("one\ntw")
    assert followed.new_lines() == ["one"]
    with path.open("a") as old:
        old.write("o\n")
    if aside:
        path.rename(tmp_path / "part.log.1")
        assert followed.new_lines() == ["two"]
        path.write_text("".join(f"new {number}\n" for number in range(aside)))
        assert followed.new_lines() == [f"new {number}" for number in range(aside)]
    else:
        assert followed.new_lines() == ["two"]
    followed.close()


def test_following_a_log_that_begins_later(tmp_path: Path) -> None:
    followed = FollowedLog(tmp_path / "part.log")
    assert followed.new_lines() == []
    (tmp_path / "part.log").write_text("first\n")

    assert followed.new_lines() == ["first"]
    followed.close()


def test_the_tail_reaches_into_what_was_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    assert tail_of(path, 5) == []
    (tmp_path / "part.log.1").write_text("one\ntwo\nthree\n")
    path.write_text("four\n")

    assert tail_of(path, 3) == ["two", "three", "four"]
    assert tail_of(path, 1) == ["four"]


def test_a_part_whose_log_cannot_be_written_is_not_started(
    log: PartLog, monkeypatch: pytest.MonkeyPatch, closed_descriptors: Callable[[], None]
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError), log.opened():
        raise AssertionError("started without a log")
    closed_descriptors()


@pytest.fixture
def closed_descriptors() -> Callable[[], None]:
    before = psutil.Process().num_fds()

    def check() -> None:
        assert psutil.Process().num_fds() == before

    return check
