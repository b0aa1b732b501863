"""Scripts, styles and texts of the pages, as far as they can be judged without a browser."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SHELL = ROOT / "plugins" / "maxy" / "web"
FAMILIES = sorted(path for path in (ROOT / "plugins" / "maxy").glob("*/web") if (path / "static").is_dir())
_TEXT = re.compile(r'^  "([^"]+)": \[\s*("(?:[^"\\]|\\.)*"),\s*("(?:[^"\\]|\\.)*"),?\s*\],$', re.MULTILINE)
_TEXT_KEY = re.compile(r'^  "[^"]+": ', re.MULTILINE)
_USED = re.compile(r'(?<![\w.])t\("([^"]+)"|data-i18n(?:-label)?="([^"{]+)"|title_key %}([\w.]+){%')


def texts_of(place: Path) -> dict[str, tuple[str, str]]:
    """Return the texts that a folder's scripts add: English and Korean by key."""
    found: dict[str, tuple[str, str]] = {}
    for file in sorted((place / "static").rglob("*-texts.js")):
        source = file.read_text(encoding="utf-8")
        texts = _TEXT.findall(source)
        assert len(texts) == len(_TEXT_KEY.findall(source)), f"{file}: a text is not read by this test"
        assert len(texts) == len({key for key, *_ in texts}), f"{file}: a key is there twice"
        found |= {key: (english, korean) for key, english, korean in texts}
    return found


def sources(place: Path) -> list[Path]:
    """Return the scripts and templates of a folder."""
    return [*sorted((place / "static").rglob("*.js")), *sorted((place / "templates").rglob("*.html"))]


def used_in(place: Path) -> set[str]:
    """Return the keys that scripts and templates name as they are."""
    every = (_USED.findall(file.read_text(encoding="utf-8")) for file in sources(place))
    return {next(filter(None, groups)) for found in every for groups in found}


@pytest.mark.parametrize("place", [SHELL, *FAMILIES], ids=lambda place: place.parent.name)
def test_every_text_is_in_both_languages_with_the_same_names(place: Path) -> None:
    assert texts_of(place)
    for key, pair in texts_of(place).items():
        names = [Counter(re.findall(r"\{(\w+)\}", text)).keys() for text in pair]
        assert names[0] == names[1], key
        assert all(len(text) > 2 for text in pair), key


def test_no_two_texts_have_the_same_key() -> None:
    keys = Counter(key for place in (SHELL, *FAMILIES) for key in texts_of(place))
    assert [key for key, count in keys.items() if count > 1] == []


def test_the_shell_uses_no_text_of_a_family() -> None:
    used = used_in(SHELL)
    assert {"page.skip", "health.title", "error.notJson"} <= used
    assert used - texts_of(SHELL).keys() == set()


@pytest.mark.parametrize("place", FAMILIES, ids=lambda place: place.parent.name)
def test_a_family_uses_its_own_texts_and_those_of_all_pages(place: Path) -> None:
    used = used_in(place)
    assert used
    assert used - texts_of(SHELL).keys() - texts_of(place).keys() == set()


@pytest.mark.parametrize("place", [SHELL, *FAMILIES], ids=lambda place: place.parent.name)
def test_scripts_import_those_of_all_pages_and_their_own(place: Path) -> None:
    """A browser would load nothing else of the page either."""
    statics = dict.fromkeys([place / "static", SHELL / "static"])
    for file in sorted((place / "static").rglob("*.js")):
        for imported in re.findall(r'^(?:import|export)\b[^;"]*"(\.[^"]+)";$', file.read_text("utf-8"), re.M):
            path = (file.parent / imported).resolve().relative_to((place / "static").resolve())
            assert any((static / path).is_file() for static in statics), f"{file}: {imported}"
