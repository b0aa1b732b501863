"""What docs/how-to-operators.md says of templates, tried with its own words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.testing import run_task, task_context
from tests.conftest import ROOT
from tests.docs.blocks import blocks

if TYPE_CHECKING:
    from tests.support import Valkey

PAGE = (ROOT / "docs" / "how-to-operators.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)


def render(text: str, *, interval_start: datetime | None, run_after: datetime) -> str:
    with DAG(dag_id="rendered", schedule=None):
        task = ClickHouseTemplateOperator(task_id="render", sql=text)
    context: Any = task_context(task, data_interval_start=interval_start)
    context["dag_run"].run_after = run_after
    # As of a run by hand without a logical date, where they are not there at all.
    context = {name: value for name, value in context.items() if value is not None}
    task.render_template_fields(context)
    return task._sql


@pytest.mark.parametrize("marker", ["run_after - macros", "statistics_day(dag_run"])
def test_a_day_can_be_had_of_every_kind_of_run(marker: str) -> None:
    (template,) = {code for code in CODE if marker in code}
    now = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
    assert render(template, interval_start=None, run_after=now) == "2026-11-19"
    assert render(template, interval_start=datetime(2026, 11, 5, tzinfo=UTC), run_after=now) == "2026-11-05"


@pytest.mark.usefixtures("connections", "clickhouse")
def test_literal_braces_are_written_as_told(valkey: Valkey) -> None:
    (raw,) = {code for code in CODE if code.startswith("{% raw %}{{x}}")}
    to_valkey: dict[str, Any] = {"key_template": "{k}", "index_key": "i", "expire": 60}
    run_task(ClickHouseToValkeyHashOperator(task_id="braces", sql=f"SELECT 'k' AS k, '{raw}' AS v", **to_valkey))
    assert valkey.hget("k", "v") == "{{x}}"


@pytest.mark.usefixtures("connections", "clickhouse")
@pytest.mark.parametrize(("limit", "native"), [("toUInt64(%(n)s)", False), ("%(n)s", True)])
def test_a_number_of_a_template_can_be_a_limit(valkey: Valkey, limit: str, native: bool) -> None:
    with DAG(dag_id="limits", schedule=None, params={"limit": 3}, render_template_as_native_obj=native):
        task = ClickHouseToValkeyHashOperator(
            task_id="cache",
            sql=f"SELECT number FROM numbers(10) LIMIT {limit}",
            parameters={"n": "{{ params.limit }}"},
            key_template="k:{number}",
            index_key="i",
            expire=60,
        )
    run_task(task)
    assert len(list(valkey.scan_iter("k:*"))) == 3


@pytest.mark.usefixtures("connections", "clickhouse")
def test_readers_of_generations_read_as_told(valkey: Valkey) -> None:
    (block,) = [block for block in blocks("docs/how-to-operators.md", "python") if "GroupReader" in block.text]
    sql = "SELECT ['KR', 'US'][number + 1] AS country, number AS orders FROM numbers(2)"
    run_task(
        ClickHouseToValkeyHashOperator(
            task_id="cache",
            sql=sql,
            key_template="sales:{country}",
            index_key="index:sales",
            layout="generations",
            expire=60,
        )
    )
    # What a reader gets of the lines that read.
    lines = [line for line in block.text.splitlines() if line.startswith("reader.read")]
    names: dict[str, Any] = {"client": valkey}
    exec(block.text, names)
    one, many = (eval(line, names) for line in lines)
    assert one == {"country": "KR", "orders": "0"}
    assert {key: values["orders"] for key, values in many.items()} == {"sales:KR": "0", "sales:US": "1"}
