"""The one folder in which statements may name files."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_GLOB = re.compile(r"[*?{]")
# To the engine these are streams of its own process.
_STREAMS = frozenset({"-", "stdin", "stdout", "stderr"})


class UserFiles:
    """Says whether a path, as a statement has it, stays inside the folder.

    :param root: the folder, an absolute path. It need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def allows(self, path: str) -> bool:
        """Whether what the engine would open for this path lies inside, links and patterns included.

        :param path: relative to the working directory, as the engine takes it, or absolute; may have globs, and an
            archive in front of ``::``.
        """
        path = path.partition("::")[0].strip(" ") if "::" in path else path
        if "\0" in path or path.lower() in _STREAMS:
            return False
        glob = _GLOB.search(path)
        if glob is None:
            return self._is_inside(path) and self._tree_is_inside(path, None)
        fixed = path[: glob.start()].rpartition("/")[0] or ("/" if path.startswith("/") else "")
        pattern = path[len(fixed) :].strip("/")
        depth = None if "**" in pattern else pattern.count("/") + 1
        # What a pattern with a way up in it matches cannot be told.
        has_way_up = re.search(r"(?:^|[/{,])\.\.(?:[/},]|$)", path) is not None
        return not has_way_up and self._is_inside(fixed) and self._tree_is_inside(fixed, depth)

    def allows_name(self, name: str) -> bool:
        """Whether a table of this name would not be a file outside: the engine takes such names for paths."""
        if name.lower().startswith("file:"):
            return self.allows(url_path(name))
        if self._is_inside(name):
            return True
        has_pattern = _GLOB.search(name) is not None and (name.startswith("/") or ".." in name)
        return not has_pattern and not os.path.isfile(os.path.join(os.getcwd(), name))

    def _is_inside(self, path: str) -> bool:
        path = os.path.join(os.getcwd(), path)
        real = os.path.realpath(path)
        root = os.path.realpath(self.root)
        # The engine cuts `..` out of the text, the system follows it: both must end inside.
        return all(part == root or part.startswith(f"{root}/") for part in (real, _normal(path, self.root, root)))

    def _tree_is_inside(self, path: str, depth: int | None) -> bool:
        """Whether no link at or below an existing path leads out. A file with other names may be one from outside.

        :param depth: how many levels below it are meant; None for all.
        """
        path = os.path.join(os.getcwd(), path)
        if not os.path.isdir(path):
            return not _has_other_names(path)
        if depth == 0:
            return True
        with os.scandir(path) as entries:
            return all(self._entry_is_inside(entry, depth) for entry in entries)

    def _entry_is_inside(self, entry: os.DirEntry[str], depth: int | None) -> bool:
        if entry.is_symlink() and not self._is_inside(entry.path):
            return False
        # With all levels to look at, a link to a folder is no way down: that folder is looked at in its own place.
        if entry.is_dir(follow_symlinks=depth is not None):
            return self._tree_is_inside(entry.path, None if depth is None else depth - 1)
        return not _has_other_names(entry.path)


def is_file_url(text: str) -> bool:
    """Whether it is a URL of a file."""
    return text.strip().lower().startswith("file:")


def url_path(url: str) -> str:
    """The path in a URL of a file, as the engine reads it."""
    return re.sub(r"^file:(?://)?", "", url.strip(), flags=re.IGNORECASE)


def _normal(path: str, root: Path, real_root: str) -> str:
    """The path without ``..``, below the real folder when it is written with a link to that."""
    normal = os.path.normpath(path)
    written = os.path.normpath(root)
    return real_root + normal[len(written) :] if normal == written or normal.startswith(f"{written}/") else normal


def _has_other_names(path: str) -> bool:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return os.path.isfile(path) and status.st_nlink > 1
