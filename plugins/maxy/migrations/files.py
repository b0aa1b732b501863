"""The migrations' files: ``include/sql/migrations/<database>/<family>/NNN_what.sql``.

A family is a folder: what has one is migrated, and nothing else has to be told of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maxy.migrations.errors import MigrateError
from maxy.paths import SQL_DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

#: Has a folder per database, and in it one per family.
MIGRATIONS_DIRECTORY = SQL_DIRECTORY / "migrations"

# A family's name becomes a part of its version table's.
_FAMILY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FILE = re.compile(r"(?P<version>\d{3,6})_[a-z0-9_]+\.sql")


@dataclass(frozen=True)
class MigrationFile:
    """One numbered file.

    :param sha256: of its bytes, in hexadecimal digits.
    """

    version: int
    name: str
    sql: str = field(repr=False)
    sha256: str


def find_families(directory: Path, only: str | None = None) -> list[Path]:
    """Return the folder of each family, by name.

    :param directory: of one database.
    :param only: a family's name; none is returned for one that has nothing in this database.
    :raises MigrateError: a folder's name is no family's.
    """
    folders = sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    for folder in folders:
        if not _FAMILY.fullmatch(folder.name):
            raise MigrateError(f"{folder}: a family's name is lower-case letters, digits and underscores")
    return [folder for folder in folders if only in (None, folder.name)]


def read_files(folder: Path) -> list[MigrationFile]:
    """Return a family's files by version.

    :raises MigrateError: a file's name is not NNN_what.sql, or two have one number.
    """
    files: dict[int, MigrationFile] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if not match:
            raise MigrateError(f"{path}: expected a name such as 001_what_it_makes.sql")
        version, content = int(match["version"]), path.read_bytes()
        if version in files:
            raise MigrateError(f"{folder}: {files[version].name} and {path.name} have one number")
        files[version] = MigrationFile(version, path.name, content.decode("utf-8"), hashlib.sha256(content).hexdigest())
    return [files[version] for version in sorted(files)]
