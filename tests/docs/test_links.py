"""Links between the pages lead somewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from maxy.families import load_families
from tests.conftest import ROOT
from tests.docs.blocks import FENCE, anchors, pages

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in _LINK.findall(text):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"there is no {target}"
        if anchor:
            assert anchor in anchors(file), f"{target} has no heading for #{anchor}"


@pytest.mark.parametrize("family", [family.name for family in load_families()])
def test_the_first_page_of_a_family_leads_to_all_its_pages(family: str) -> None:
    folder = ROOT / "docs" / family
    first = folder / "index.md"
    linked = {target for target, _ in _LINK.findall(first.read_text(encoding="utf-8"))}
    assert {page.name for page in folder.glob("*.md") if page != first} <= linked
