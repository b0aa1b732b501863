"""Folders that root opened so that a server's own user can walk through them, and who closes them again.

Two stacks may need the same folder, such as /root. So one record per machine says what each folder's mode was and which
stacks need it open; the last of them to stop gives the folder its mode back.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from local.lock import locked_file

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Only root opens folders of others, and only root reads or writes this.
RECORD = Path("/var/lib/maxy/opened-folders.json")


class _Opened(TypedDict):
    mode: int
    stacks: list[str]


class OpenedFolders:
    """:param record: where it is written down; its folder is made."""

    def __init__(self, record: Path = RECORD) -> None:
        self._record = record
        self._lock = record.with_suffix(".lock")

    def open_above(self, paths: Iterable[Path], stack: Path) -> list[Path]:
        """Let other users walk through the paths and all folders above them (not list them).

        Written down before it is done, so an interruption leaves nothing open that nobody knows of.

        :param stack: the folder of the stack that needs it.
        :return: those that were opened now.
        :raises OSError: they cannot be opened, or that cannot be written down.
        """
        folders = {folder for path in paths for folder in (path, *path.parents)}
        opened = []
        with locked_file(self._lock):
            record = self._read()
            for folder in sorted(folders):
                mode = stat.S_IMODE(folder.stat().st_mode)
                is_open = bool(mode & stat.S_IXOTH)
                entry = record.get(str(folder))
                if entry is None and is_open:
                    continue
                if entry is None or not is_open:
                    # Where somebody has closed it meanwhile, theirs is the mode to come back to.
                    entry = _Opened(mode=mode, stacks=entry["stacks"] if entry else [])
                record[str(folder)] = _Opened(mode=entry["mode"], stacks=sorted({*entry["stacks"], str(stack)}))
                if not is_open:
                    self._write(record)
                    folder.chmod(mode | stat.S_IXOTH)
                    opened.append(folder)
            self._write(record)
        return opened

    def close_for(self, stack: Path) -> list[Path]:
        """Give the folders that no other stack needs their modes back.

        One whose mode somebody has changed meanwhile is left as it is; a stack whose folder is gone needs nothing.

        :return: those that were closed.
        :raises OSError: such as for a record that cannot be written.
        """
        if not self._record.exists():
            return []
        closed = []
        with locked_file(self._lock):
            record = self._read()
            for name, entry in list(record.items()):
                stacks = [other for other in entry["stacks"] if other != str(stack) and Path(other).exists()]
                if stacks:
                    record[name] = _Opened(mode=entry["mode"], stacks=stacks)
                    continue
                if _close(Path(name), entry["mode"]):
                    closed.append(Path(name))
                del record[name]
            self._write(record)
        return closed

    def _read(self) -> dict[str, _Opened]:
        try:
            record: dict[str, _Opened] = json.loads(self._record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise OSError(f"{self._record} is damaged: see which folders are open to others, and remove it") from None
        return record

    def _write(self, record: dict[str, _Opened]) -> None:
        if not record:
            self._record.unlink(missing_ok=True)
            return
        temporary = self._record.with_suffix(".new")
        temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
        temporary.replace(self._record)


def _close(folder: Path, mode: int) -> bool:
    try:
        if stat.S_IMODE(folder.stat().st_mode) != mode | stat.S_IXOTH:
            return False
        folder.chmod(mode)
    except FileNotFoundError:
        return False
    return True
