"""What the pages show of the examples is what the examples are; what the examples use is what the pages promise."""

from __future__ import annotations

import ast
import importlib
import json
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

from maxy import testing
from maxy.loops.options import RealtimeSettings
from maxy.statistics.live_loops import LIVE_LOOPS
from tests.conftest import ROOT
from tests.docs.blocks import blocks, pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docs.blocks import Block

EXAMPLES = ROOT / "docs" / "examples"
QUOTED = {
    path: path.read_text(encoding="utf-8")
    for path in sorted(EXAMPLES.rglob("*"))
    if path.suffix in {".py", ".sql", ".json"}
}
PAGES = [page.relative_to(ROOT).as_posix() for page in pages()]
# The SQL of docs/production.md is for whoever looks after a server.
QUOTING = [page for page in PAGES if page != "docs/production.md"]
HOW_TOS = [page for page in PAGES if page.startswith("docs/how-to-")]
_OF_LOOPS = [page for page in PAGES if page.endswith("live-loops.md")]
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def is_carried_out(block: Block) -> bool:
    """Whether other tests run the block as it is."""
    if block.page == "docs/how-to-test.md":
        # A file of its own, for test_testing_page.py.
        return bool(re.match(r"# \S+\.py\n", block.text))
    # A statement, for tests/e2e/test_as_documented.py; a few lines, for test_how_to_operators.py.
    return block.page == "docs/how-to-operators.md" and (
        block.heading == "Query ids" or block.text.startswith("from maxy.valkey.groups import GroupReader")
    )


@pytest.mark.parametrize("block", [block for page in QUOTING for block in blocks(page, "python", "sql")], ids=str)
def test_code_on_a_page_is_part_of_an_example(block: Block) -> None:
    if is_carried_out(block):
        return
    # As it stands in the file, or without the indentation of a `with`.
    forms = {block.text, textwrap.indent(block.text, "    ")}
    assert any(form in text for form in forms for text in QUOTED.values()), f"{block} is in no file of docs/examples"


@pytest.mark.parametrize("block", [block for page in _OF_LOOPS for block in blocks(page, "json")], ids=str)
def test_settings_on_the_page_are_accepted(block: Block) -> None:
    settings = RealtimeSettings.parse(block.text, where="the page", built_in=LIVE_LOOPS)
    given = json.loads(block.text)
    assert set(given.get("loops", {})) <= set(settings.names(LIVE_LOOPS))


def imports(path: Path) -> Iterator[str]:
    """Yield the names of the package that a file imports, with their modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "maxy":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "maxy")


def named(pages: list[str]) -> set[str]:
    """Return what pages name in full in their text. What the code on them uses is no promise."""
    text = "".join(_FENCED.sub("", (ROOT / page).read_text(encoding="utf-8")) for page in pages)
    return set(re.findall(r"`(maxy(?:\.\w+){2,})`", text))


def promised() -> set[str]:
    """Return what the how-tos say that one may import."""
    # test_testing_page.py sees to it that the page names them.
    helpers = {f"maxy.testing.{name}" for name in testing.__all__}
    return helpers | named(HOW_TOS)


@pytest.mark.parametrize("path", sorted((EXAMPLES / "shop").rglob("*.py")), ids=lambda path: path.name)
def test_an_example_imports_only_what_the_pages_name(path: Path) -> None:
    assert set(imports(path)) - promised() == set()


@pytest.mark.parametrize(
    "name", sorted(name for name in promised() | named(PAGES) if re.fullmatch(r".*\.[A-Z]\w*", name))
)
def test_a_class_that_a_page_names_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_no_page_names_a_file_of_an_example_that_is_not_there() -> None:
    for page in pages():
        for name in re.findall(r"docs/examples/[\w./-]*\w", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page}: {name}"
