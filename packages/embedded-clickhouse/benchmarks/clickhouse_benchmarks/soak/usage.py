"""What a server's process holds, as the system tells."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

# Threads of the engine's own pools have names; those that Python started have the program's.
_PYTHON = "python"


@dataclass(frozen=True)
class Usage:
    """One look at a process.

    :param python_threads: those that the server itself started, and what the engine has not named.
    :param engine_threads: the engine's.
    :param sockets: open ones, listeners included.
    :param spooled: open files with the data of inserts that are not complete.
    :param data_files: open files of the engine's data folder.
    :param files: every open file descriptor. The engine has three for each of its threads.
    :param memory_mb: megabytes that are its own (unique set size).
    """

    python_threads: int
    engine_threads: int
    sockets: int
    spooled: int
    data_files: int
    files: int
    memory_mb: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Look at a process."""
        threads = Counter(_thread_names(pid))
        python = sum(count for name, count in threads.items() if name.startswith(_PYTHON))
        targets = list(_open_files(pid))
        return cls(
            python_threads=python,
            engine_threads=threads.total() - python,
            sockets=sum(target.startswith("socket:") for target in targets),
            spooled=sum("/spool/" in target for target in targets),
            data_files=sum("/data/store/" in target for target in targets),
            files=len(targets),
            memory_mb=psutil.Process(pid).memory_full_info().uss / 2**20,
        )

    def __str__(self) -> str:
        return (
            f"{self.memory_mb:.0f} MB, {self.python_threads} + {self.engine_threads} threads, {self.files} files: "
            f"{self.sockets} sockets, {self.data_files} of data, {self.spooled} spooled"
        )


def _thread_names(pid: int) -> list[str]:
    names = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end between the listing and the look.
        with suppress(OSError):
            names.append((task / "comm").read_text().strip())
    return names


def _open_files(pid: int) -> list[str]:
    targets = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return targets
