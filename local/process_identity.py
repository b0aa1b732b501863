"""Who a process is, in terms that neither a step of the wall clock nor a reused pid can confuse.

On Linux that is the pid, the start in clock ticks since the machine's boot, and the boot's id. On macOS it is the pid,
the start as the kernel wrote it down then (which it never corrects), and the id of the boot session. The wall-clock
time of a start, by contrast, is computed from a boot time that moves with every step of the clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

# What the pid files of former versions hold, a wall-clock time, was compared with this tolerance.
_FORMER_TOLERANCE = 2.0
# In /proc/PID/stat, counted behind the name in parentheses, which may hold blanks: field 22 of the whole line.
_START_FIELD = 19


@dataclass(frozen=True)
class Identity:
    """One process, not just whoever holds its pid today.

    :param start: clock ticks since boot (Linux), or microseconds since the epoch as recorded at the start (macOS).
    :param boot: which boot of the machine it belongs to.
    """

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """:raises psutil.NoSuchProcess: nobody has the pid."""
        return cls(pid, start_of(pid), boot_id())

    def process(self) -> psutil.Process | None:
        """The running process, or None when it ended (a zombie has ended) or its pid went to another."""
        if self.boot != boot_id():
            return None
        try:
            process = psutil.Process(self.pid)
            # The pid is looked at a second time, so `process` cannot be a later holder of it.
            if start_of(self.pid) != self.start:
                return None
        except psutil.NoSuchProcess:
            return None
        return None if has_ended(process) else process

    def taken_over(self) -> bool:
        """Whether the pid now belongs to another process."""
        try:
            return self.boot != boot_id() or start_of(self.pid) != self.start
        except psutil.NoSuchProcess:
            return False

    def started_no_later_than(self, pid: int) -> bool:
        """Whether it is of this boot, and no younger than the process with that pid.

        :raises psutil.NoSuchProcess: nobody has the pid.
        """
        return self.boot == boot_id() and self.start <= start_of(pid)

    def started_at(self) -> float:
        """Seconds since the epoch at which it started, by the wall clock as it goes now, steps since then included."""
        if sys.platform == "linux":
            return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - self.start / _ticks_per_second())
        return self.start / 1_000_000


def identify_former(pid: int, started: float, folder: Path) -> Identity:
    """Understand what a pid file of a former version says: a pid and a wall-clock time.

    :param started: seconds since the epoch, by the clock as it went then.
    :param folder: the stack's.
    :return: the running process, or where there is none, an identity that no running process has.
    """
    try:
        process = psutil.Process(pid)
        # Where the clock has been stepped since, the times differ, and what it was started for tells.
        if abs(process.create_time() - started) <= _FORMER_TOLERANCE or _is_daemon_of(process, folder):
            return Identity.of(pid)
    except psutil.Error:
        pass
    # Where it has ended, what it left behind is still to be found: it started no earlier.
    since_boot = started - _FORMER_TOLERANCE - psutil.boot_time()
    if since_boot < 0:
        return Identity(pid, 0, "an earlier boot")
    start = since_boot * _ticks_per_second() if sys.platform == "linux" else (started - _FORMER_TOLERANCE) * 1_000_000
    return Identity(pid, int(start), boot_id())


def daemons_of(*folders: Path) -> list[psutil.Process]:
    """The processes that were started for these folders of a stack to go on by themselves, whatever the pid files say.

    Shells and editors do not count, even where they were opened in such a folder: they have a terminal.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in spared and any(_is_daemon_of(process, folder) for folder in folders)
    ]


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


def start_of(pid: int) -> int:
    """When the process started, see `Identity`.

    :raises psutil.NoSuchProcess: nobody has the pid.
    """
    if sys.platform != "linux":
        # The public create_time() follows the wall clock where the system's own record does not.
        recorded = psutil.Process(pid)._proc.create_time(monotonic=True)  # type: ignore[attr-defined]
        return round(recorded * 1_000_000)
    try:
        line = Path(psutil.PROCFS_PATH, str(pid), "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return int(line.rpartition(b")")[2].split()[_START_FIELD])


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not tell (some sandboxes)."""
    if sys.platform == "linux":
        try:
            return Path(psutil.PROCFS_PATH, "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""
    answer = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True)
    return answer.stdout.strip()


def _is_daemon_of(process: psutil.Process, folder: Path) -> bool:
    """Whether it leads a session without a terminal and works in the folder, or names it in its command line."""
    try:
        if os.getsid(process.pid) != process.pid or has_ended(process) or process.terminal() is not None:
            return False
        return _is_inside(process.cwd(), folder) or any(_is_inside(word, folder) for word in process.cmdline())
    except (psutil.Error, OSError):
        # Of another user, or ended meanwhile.
        return False


def _is_inside(path: str, folder: Path) -> bool:
    return Path(path).is_relative_to(folder)


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK")
