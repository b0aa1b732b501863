"""docs/how-to-live-loops.md against the code, so that it cannot go stale."""

from __future__ import annotations

import json
import re
from dataclasses import fields

from maxy.loops.options import COMMON_OPTIONS, RealtimeSettings
from maxy.loops.status import LoopStatus
from maxy.loops.watch import Watch
from maxy.statistics.live_loops import LIVE_LOOPS
from tests.conftest import ROOT
from tests.loop_settings import PERIOD, rows, table

PAGE = (ROOT / "docs" / "how-to-live-loops.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """Return the table of the settings that every loop has, and of the watch's, Markdown."""
    period = f"| every loop | `period_seconds` | the loop's own; watch {Watch.period_seconds:g} | {PERIOD} |"
    return table([period, *rows("every loop", COMMON_OPTIONS), *rows("`watch`", Watch.options)])


def test_the_settings_table_is_that_of_the_code() -> None:
    if settings_table() not in PAGE:
        print(settings_table())
    assert settings_table() in PAGE, "put the table printed above into docs/how-to-live-loops.md"


def test_every_setting_is_described() -> None:
    for options in (COMMON_OPTIONS, Watch.options):
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


def test_every_field_of_the_status_is_described() -> None:
    for field in fields(LoopStatus):
        described = re.search(rf":param {field.name}: (.+?)\.?\n", LoopStatus.__doc__ or "")
        assert described, field.name
        assert f"| `{field.name}` | {described[1]} |" in PAGE
