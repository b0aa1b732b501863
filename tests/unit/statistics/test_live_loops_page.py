"""docs/statistics/live-loops.md against the code, so that it cannot go stale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maxy.loops.hash_loop import UPDATED_AT, HashLoop
from maxy.loops.registry import loop_class
from maxy.statistics.live import scatter
from maxy.statistics.live.log_meter import _FIELDS as LOG_METER_FIELDS
from maxy.statistics.live.scatter.loop import _BANDS, ScatterLoop
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.row_rules import ROW_OPTIONS
from maxy.valkey.scripts import read_script
from tests.conftest import ROOT
from tests.loop_settings import PERIOD, rows, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from maxy.loops.loop import Loop

PAGE = (ROOT / "docs" / "statistics" / "live-loops.md").read_text(encoding="utf-8")
LOOPS: Mapping[str, type[Loop]] = {name: loop_class(path) for name, path in LIVE_LOOPS.items()}


def settings_table() -> str:
    """Return the table of every loop's own settings but the watch's, which is every family's, Markdown."""
    periods = ", ".join(f"{name} {loop.period_seconds:g}" for name, loop in LOOPS.items())
    lines = [f"| every loop | `period_seconds` | {periods} | {PERIOD} |"]
    for name, loop in LOOPS.items():
        if name != "watch":
            # Those of all rows are no settings of a loop: they are set for all at once, by variables of their own.
            lines += rows(f"`{name}`", {key: loop.options[key] for key in loop.options if key not in ROW_OPTIONS})
    return table(lines)


def test_the_settings_table_is_that_of_the_code() -> None:
    if settings_table() not in PAGE:
        print(settings_table())
    assert settings_table() in PAGE, "put the table printed above into docs/statistics/live-loops.md"


def test_every_setting_is_described() -> None:
    for loop in LOOPS.values():
        for name, option in loop.options.items():
            assert option.description, name
            assert not option.description.endswith("."), name


def test_every_dag_is_in_the_table_of_loops_with_its_period() -> None:
    for name, loop in LOOPS.items():
        assert re.search(rf"^\| `realtime_{name}` \| {loop.period_seconds:g} s \|", PAGE, re.MULTILINE), name


def written_fields() -> Iterator[tuple[str, list[str]]]:
    yield "log_meter", list(LOG_METER_FIELDS)
    for name, loop in LOOPS.items():
        if issubclass(loop, HashLoop):
            yield name, [*re.findall(r"{(\w+)}", loop.key_template), *loop.metrics, UPDATED_AT]


@pytest.mark.parametrize(("name", "names"), list(written_fields()))
def test_every_field_of_a_hash_is_named_in_its_row(name: str, names: list[str]) -> None:
    (row,) = re.findall(rf"^\| {name} \|.*$", PAGE, re.MULTILINE)
    assert set(names) <= set(re.findall(r"\w+", row))


def test_every_field_beside_the_points_is_named() -> None:
    script = read_script("write_points", directory=Path(scatter.__file__).parent / "lua")
    written = {name for name in re.findall(r"'(\w+)'", script) if "_" in name} | {"points"}
    written |= {f"points_{band}" for band in _BANDS}
    (row,) = re.findall(r"^\| both scatters \|.*`:meta`.*$", PAGE, re.MULTILINE)
    assert written == set(re.findall(r"`(\w+)`", row))


def test_the_keys_are_named() -> None:
    for loop in LOOPS.values():
        if issubclass(loop, HashLoop | ScatterLoop):
            assert f"`{{prefix}}:{loop.key_template}`" in PAGE
