"""What the faults have in common: a stack, its commands, and the table of what was seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.e2e.conftest import ROOT, RunningStack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

#: Seconds after which any single command is given up; the slowest compute days on a busy machine.
LONGEST_COMMAND = 420


class TimeIsUp(BaseException):
    """The whole run takes too long; no fault's own failure, so not an Exception."""


@dataclass(frozen=True)
class Result:
    """How a command of the stack ended."""

    command: str
    status: int
    text: str

    def must_succeed(self) -> Result:
        assert self.status == 0, f"{self.command} ended with {self.status}: {self.text[-1500:]}"
        return self.must_be_clear()

    def must_fail(self) -> Result:
        assert self.status == 1, f"{self.command} ended with {self.status}: {self.text[-1500:]}"
        return self.must_be_clear()

    def must_be_clear(self) -> Result:
        assert "Traceback" not in self.text, f"{self.command}: {self.text[-3000:]}"
        assert self.text.strip() or self.status == 0, f"{self.command} ended with {self.status} and not a word"
        return self

    def lines(self, *words: str) -> list[str]:
        return [line for line in self.text.splitlines() if all(word in line for word in words)]


class Rig:
    """:param stack: the stack, in a folder below this one.

    :param folder: removed at the end.
    """

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self._rows: list[tuple[str, str, str, bool]] = []
        self._mounts: list[Path] = []

    @property
    def local_dir(self) -> Path:
        return self.stack.settings.local_dir

    def refresh(self) -> None:
        """Read the settings again: after `clean` there are other passwords."""
        self.stack = RunningStack.of(self.stack.environment)

    @property
    def all_well(self) -> bool:
        return all(well for *_, well in self._rows)

    def expect(self, fault: str, wanted: str, attempt: Callable[[], str]) -> None:
        """Carry out a fault and note what was seen; one that goes wrong does not stop the others.

        :param attempt: returns what was seen; AssertionError says what was wrong.
        """
        print(f"--- {fault}: {wanted}", flush=True)
        start = time.monotonic()
        try:
            seen, well = attempt(), True
        except Exception as error:
            seen, well = f"{type(error).__name__}: {error}", False
        print(f"    {'good' if well else 'BAD'}, {time.monotonic() - start:.0f} s: {seen}", flush=True)
        self._rows.append((fault, wanted, " ".join(seen.split())[:400], well))

    def skip(self, fault: str, reason: str) -> None:
        self._rows.append((fault, "not tried", reason, True))

    def table(self) -> str:
        lines = [f"{'':<5}{'fault':<34}{'wanted':<46}seen"]
        for fault, wanted, seen, well in self._rows:
            columns = [textwrap.wrap(text, width) for text, width in ((fault, 32), (wanted, 44), (seen, 80))]
            for number in range(max(map(len, columns))):
                mark = ("good" if well else "BAD") if number == 0 else ""
                cells = [column[number] if number < len(column) else "" for column in columns]
                lines.append(f"{mark:<5}{cells[0]:<34}{cells[1]:<46}{cells[2]}".rstrip())
        return "\n".join(lines)

    # --- Commands ---

    def start(
        self, *arguments: str, prefix: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "local", *arguments],
            cwd=ROOT,
            env={**self.stack.environment, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Result:
        assert isinstance(process.args, list), "made by start()"
        command = " ".join(map(str, process.args[process.args.index("local") + 1 :]))
        try:
            text, _ = process.communicate(timeout=LONGEST_COMMAND)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
            raise AssertionError(f"{command} did not end within {LONGEST_COMMAND} s: {text[-1500:]}") from None
        return Result(command, process.returncode, text)

    def run(self, *arguments: str, prefix: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> Result:
        """Run `python -m local ARGUMENTS`.

        :param prefix: a command that runs it.
        """
        return self.finish(self.start(*arguments, prefix=prefix, variables=variables))

    def wait_for_status(self, *, timeout: float = 120.0) -> Result:
        """Wait until all parts work, as after a fault is over."""
        deadline = time.monotonic() + timeout
        while (result := self.run("status").must_be_clear()).status and time.monotonic() < deadline:
            time.sleep(1)
        return result.must_succeed()

    # --- Processes ---

    def processes(self) -> list[psutil.Process]:
        return [process for process in self.stack.belongings() if process.pid not in _own_pids()]

    def signal_all(self, number: signal.Signals) -> int:
        processes = self.processes()
        for process in processes:
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue
        return len(processes)

    # --- File systems ---

    def mount_small(self, name: str, megabytes: int) -> Path:
        """Give a stopped part's data a file system of its own, of that size."""
        folder = self.local_dir / name
        aside = folder.with_name(f"{folder.name}.aside")
        mode, owner = folder.stat().st_mode & 0o777, folder.stat()
        folder.rename(aside)
        folder.mkdir()
        options = f"size={megabytes}m,mode={mode:o},uid={owner.st_uid},gid={owner.st_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        self._mounts.append(folder)
        subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)
        return folder

    def mount_all(self, megabytes: int) -> None:
        """Give everything of the stopped stack one file system of that size."""
        self.mount_small("", megabytes)

    def unmount_all(self) -> None:
        """Put the folders back as they were; nothing may run. What was written meanwhile is lost."""
        while self._mounts:
            folder = self._mounts.pop()
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()
            folder.with_name(f"{folder.name}.aside").rename(folder)

    def clean_up(self) -> None:
        self.signal_all(signal.SIGCONT)
        result = self.run("down")
        if result.status:
            print(result.text, file=sys.stderr)
            self.signal_all(signal.SIGKILL)
        self.unmount_all()
        print(self.run("clean").text)


def _own_pids() -> set[int]:
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
