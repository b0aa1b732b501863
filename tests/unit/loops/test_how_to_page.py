"""docs/how-to-live-loops.md against the code, so that it cannot go stale."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maxy.loops.hash_loop import UPDATED_AT, HashLoop
from maxy.loops.options import COMMON_OPTIONS, Option, RealtimeSettings
from maxy.loops.registry import loop_class
from maxy.loops.status import LoopStatus
from maxy.statistics.live import scatter
from maxy.statistics.live.log_meter import _FIELDS as LOG_METER_FIELDS
from maxy.statistics.live.scatter.loop import _BANDS, ScatterLoop
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.row_rules import ROW_OPTIONS
from maxy.valkey.scripts import read_script
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from maxy.loops.loop import Loop

PAGE = (ROOT / "docs" / "how-to-live-loops.md").read_text(encoding="utf-8")
LOOPS: Mapping[str, type[Loop]] = {name: loop_class(path) for name, path in LIVE_LOOPS.items()}


def settings_table() -> str:
    """Return the table of every setting of every loop, Markdown."""
    lines = ["| loop | setting | default | meaning |", "|---|---|---|---|"]
    periods = ", ".join(f"{name} {loop.period_seconds:g}" for name, loop in LOOPS.items())
    lines.append(
        f"| every loop | `period_seconds` | {periods} | seconds from the start of one tick to that of the next |"
    )
    lines += _rows("every loop", COMMON_OPTIONS)
    for name, loop in LOOPS.items():
        lines += _rows(f"`{name}`", loop.options)
    return "\n".join(lines) + "\n"


def _rows(loop: str, options: Mapping[str, Option]) -> Iterator[str]:
    for name, option in options.items():
        if name in ROW_OPTIONS:
            # No setting of a loop: set for all at once, by variables of their own.
            continue
        default = option.default
        if isinstance(default, float) and default.is_integer():
            default = int(default)
        yield f"| {loop} | `{name}` | `{json.dumps(default)}` | {option.description} |"


def test_the_settings_table_is_that_of_the_code() -> None:
    if settings_table() not in PAGE:
        print(settings_table())
    assert settings_table() in PAGE, "put the table printed above into docs/how-to-live-loops.md"


def test_every_setting_is_described() -> None:
    for options in (COMMON_OPTIONS, *(loop.options for loop in LOOPS.values())):
        for name, option in options.items():
            assert option.description, name
            assert not option.description.endswith("."), name


def test_the_settings_of_all_loops_are_described() -> None:
    names = {field.name for field in fields(RealtimeSettings)} - {"where"}
    assert names == set(re.findall(r"^- `(\w+)` \(default", PAGE, re.MULTILINE))
    assert f"`deadline_minutes` (default {RealtimeSettings().deadline_minutes:g})" in PAGE


def test_the_settings_shown_are_accepted() -> None:
    shown = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert shown
    for given in shown:
        # The example of a loop of one's own is tried in tests/integration/loops/test_own_loop.py.
        own = {name: "a.b" for name in given.get("own_loops", {})}
        RealtimeSettings.parse(json.dumps({**given, "own_loops": own}), where="shown", built_in=LIVE_LOOPS)


def test_every_dag_is_in_the_table_of_loops_with_its_period() -> None:
    for name, loop in LOOPS.items():
        assert re.search(rf"^\| `realtime_{name}` \| {loop.period_seconds:g} s \|", PAGE, re.MULTILINE), name


def test_every_field_of_the_status_is_described() -> None:
    for field in fields(LoopStatus):
        described = re.search(rf":param {field.name}: (.+?)\.?\n", LoopStatus.__doc__ or "")
        assert described, field.name
        assert f"| `{field.name}` | {described[1]} |" in PAGE


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
