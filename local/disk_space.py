"""Warnings before a disk is full, and when it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

#: Free bytes below which there is a warning, on a volume of at least ten times that.
LEAST_FREE_BYTES = 1_000_000_000
#: The part of a smaller volume, and of the number of files on any, that should be free.
LEAST_FREE_SHARE = 0.1
_LEAST_FREE_FILES = 10_000


@dataclass(frozen=True)
class Volume:
    """What is free of a file system for users other than root.

    :param device: the same for all folders that lie on it.
    :param files: how many it can hold; 0 where it does not count them.
    """

    device: int
    size: int
    free: int
    files: int = 0
    free_files: int = 0

    @classmethod
    def of(cls, folder: Path) -> Volume:
        """:raises OSError: such as for a folder that does not exist."""
        state = os.statvfs(folder)
        return cls(
            device=folder.stat().st_dev,
            size=state.f_blocks * state.f_frsize,
            free=state.f_bavail * state.f_frsize,
            files=state.f_files,
            free_files=state.f_favail,
        )

    def problem(self) -> str | None:
        if self.free < min(LEAST_FREE_BYTES, self.size * LEAST_FREE_SHARE):
            return f"only {format_bytes(self.free)} of {format_bytes(self.size)} are free"
        if self.files and self.free_files < min(_LEAST_FREE_FILES, self.files * LEAST_FREE_SHARE):
            return f"only {self.free_files:,} more files can be made (of {self.files:,})"
        return None


def find_full_disks(folders: Mapping[str, Path], volume_of: Callable[[Path], Volume] = Volume.of) -> list[str]:
    """Return a warning for each file system with too little space, which names whose folders are on it.

    :param folders: by the name of whom they belong to; those that do not exist (yet) are left out.
    """
    volumes: dict[Volume, list[str]] = {}
    for name, folder in folders.items():
        try:
            volume = volume_of(folder)
        except OSError:
            continue
        # The same file system may have changed between two looks at it.
        known = next((other for other in volumes if other.device == volume.device), volume)
        volumes.setdefault(known, []).append(f"{name} ({folder})")
    return [
        f"{problem} for {_enumerate(names)}"
        for volume, names in volumes.items()
        if (problem := volume.problem()) is not None
    ]


def format_bytes(count: int) -> str:
    """Return a size with three digits or so, in powers of 1,000: 0 bytes, 1.5 MB, 252 GB."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count} bytes"


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
