"""Tables of the live loops' settings, as the pages have them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from maxy.loops.options import Option

#: What the setting that every loop has first means.
PERIOD = "seconds from the start of one tick to that of the next"


def table(lines: Iterable[str]) -> str:
    """Return a table of settings, Markdown."""
    return "\n".join(["| loop | setting | default | meaning |", "|---|---|---|---|", *lines]) + "\n"


def rows(loop: str, options: Mapping[str, Option]) -> Iterator[str]:
    """Yield a row for each setting.

    :param loop: as the first column has it.
    :param options: the settings by name.
    """
    for name, option in options.items():
        default = option.default
        if isinstance(default, float) and default.is_integer():
            default = int(default)
        yield f"| {loop} | `{name}` | `{json.dumps(default)}` | {option.description} |"
