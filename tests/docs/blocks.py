"""The code blocks of a page, so that tests follow the page's own text and no copy of it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: A fenced block.
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    :param page: the page, relative to the checkout.
    :param line: of its first line of code.
    :param heading: the one it stands under.
    :param language: empty where the fence names none.
    :param text: the code, without the indentation of a list.
    """

    page: str
    line: int
    heading: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str, under: str | None = None) -> list[Block]:
    """Return the blocks of a page, in their order.

    :param page: relative to the checkout.
    :param languages: those that are wanted; all unless given.
    :param under: only those that stand under this heading.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(text):
        before = text[: fence.start()]
        headings = _HEADING.findall(FENCE.sub("", before))
        found.append(
            Block(
                page,
                before.count("\n") + 2,
                headings[-1] if headings else "",
                fence["language"],
                textwrap.dedent(fence["text"]),
            )
        )
    return [
        block
        for block in found
        if (not languages or block.language in languages) and (under is None or block.heading == under)
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def pages() -> list[Path]:
    """Return every page that users read: the README and what is below docs/, without the decisions."""
    below = [page for page in (ROOT / "docs").rglob("*.md") if "adr" not in page.parts]
    return [ROOT / "README.md", ROOT / "README.ko.md", *sorted(below)]
