"""The loops' statements: files below include/sql, with Jinja for structure and ``{name:Type}`` for values."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from maxy.paths import SQL_DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

_LINE_COMMENTS = re.compile(r"^\s*--.*\n?", re.MULTILINE)


def read_statement(name: str, *, directory: Path | None = None, **structure: Any) -> str:
    """Return one statement of a file, without the lines that are comments.

    :param name: the file below ``directory``, e.g. ``statistics/live/log_meter.sql``.
    :param directory: where the files are; the package's own unless given.
    :param structure: for Jinja: which parts the statement has, never a value of the data.
    :raises jinja2.TemplateError: for a file that is not there or names something that is not given.
    """
    text = _environment(directory or SQL_DIRECTORY).get_template(name).render(**structure)
    # They are for readers of the file; the server would get them with every tick.
    return _LINE_COMMENTS.sub("", text).strip()


@cache
def _environment(directory: Path) -> Environment:
    # SQL, not HTML: nothing is to be escaped for a browser.
    return Environment(
        loader=FileSystemLoader(directory), undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
