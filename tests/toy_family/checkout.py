"""A copy of the repository to which the family of toys is added.

``python -m tests.toy_family.checkout FOLDER`` makes one, such as to see it in `make run` there.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TREE = Path(__file__).with_name("tree")


class Edit(NamedTuple):
    """A change of a file that all families share.

    :param after: the line behind which something comes.
    :param added: what comes there.
    """

    file: str
    after: str
    added: str


#: All that is edited outside of the family's own folders.
EDITS = (
    Edit("plugins/maxy/families.py", "FAMILIES = (", '    "maxy.toys.family.FAMILY",'),
    Edit("local/families.py", "FAMILIES = {", '    "toys": "local.toys.family.Toys",'),
    Edit(
        "airflow_settings.yaml",
        "  variables:",
        '    - variable_name: maxy_toys\n      variable_value: "{}"',
    ),
    Edit("CHANGELOG.md", "### Behaviour", "- Toys."),
)


# What .gitignore names, and git itself.
_LEFT_BEHIND = (".git", ".venv", ".local", ".env", ".artefacts", ".hypothesis", ".*_cache", "__pycache__", "*.pyc")


def make_checkout(folder: Path) -> None:
    """Copy the repository, whether or not git knows it, and add the family."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_BEHIND), dirs_exist_ok=True)
    shutil.copytree(TREE, folder, dirs_exist_ok=True)
    for edit in EDITS:
        _apply(edit, folder / edit.file)


def _apply(edit: Edit, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if (line := f"{edit.after}\n") not in text:
        raise LookupError(f"{edit.file} has no line {edit.after!r}")
    path.write_text(text.replace(line, f"{line}{edit.added}\n", 1), encoding="utf-8")


if __name__ == "__main__":
    make_checkout(Path(sys.argv[1]))
