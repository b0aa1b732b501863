"""The Valkey hash writer against real servers, and the how-to's example."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from tests.conftest import ROOT
from tests.support import hashes, run_dag, run_task

if TYPE_CHECKING:
    import clickhouse_driver

    from tests.support import Valkey

pytestmark = pytest.mark.usefixtures("connections")

ROWS = """
SELECT * FROM values(
    'name String, number UInt64, ratio Nullable(Float64), at DateTime64(3, ''UTC''), day Date',
    ('a:1', 1, 0.1, '2026-11-21 07:36:14.102', '2026-11-21'),
    ('한국 [x] ''quoted''', 18446744073709551615, nan, '2026-11-21 07:36:14.100', '2026-11-21'),
    ('50%', 3, NULL, '2026-11-21 00:00:00', '2026-11-21'))
"""


def to_hashes(sql: str = ROWS, **options: Any) -> ClickHouseToValkeyHashOperator:
    settings: dict[str, Any] = {
        "key_template": "t:{name}",
        "index_key": "index:t",
        "expire": 60,
        "log_values": False,
    }
    return ClickHouseToValkeyHashOperator(task_id="cache", sql=sql, **{**settings, **options})


def test_writes_a_hash_per_row_with_values_as_readers_expect(valkey: Valkey) -> None:
    done = run_task(to_hashes())
    assert hashes(valkey, "t:*") == {
        "t:a%3A1": {
            "name": "a:1",
            "number": "1",
            "ratio": "0.1",
            "at": "2026-11-21T07:36:14.102000Z",
            "day": "2026-11-21",
        },
        "t:한국 [x] 'quoted'": {
            "name": "한국 [x] 'quoted'",
            "number": "18446744073709551615",
            "at": "2026-11-21T07:36:14.100000Z",
            "day": "2026-11-21",
        },
        "t:50%25": {"name": "50%", "number": "3", "at": "2026-11-21T00:00:00.000000Z", "day": "2026-11-21"},
    }
    assert (done["keys_written"], done["keys_removed"], done["superseded"]) == (3, 0, False)


def test_removes_keys_that_are_gone(valkey: Valkey) -> None:
    run_task(to_hashes())
    done = run_task(to_hashes("SELECT 'a:1' AS name, 2 AS number"))
    assert hashes(valkey, "t:*") == {"t:a%3A1": {"name": "a:1", "number": "2"}}
    assert done["keys_removed"] == 2


def test_an_older_result_does_not_replace_a_newer_one(valkey: Valkey) -> None:
    result = "SELECT 'x' AS name, toDateTime64('2026-11-21 00:00:0{}', 3, 'UTC') AS at"
    run_task(to_hashes(result.format(2), version_field="at"))
    assert run_task(to_hashes(result.format(1), version_field="at"))["superseded"] is True
    assert hashes(valkey, "t:*")["t:x"]["at"] == "2026-11-21T00:00:02.000000Z"


def test_prefix_and_fields_are_options(valkey: Valkey) -> None:
    run_task(to_hashes("SELECT 'x' AS name, 1 AS number", key_prefix="{p}:", fields=["number"]))
    assert hashes(valkey) == {"{p}:t:x": {"number": "1"}}


def test_logs_every_key_and_value_only_when_asked_and_the_count_always(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    run_task(to_hashes("SELECT 'x' AS name, 17 AS number", log_values=True))
    logged = capsys.readouterr().out
    assert "t:x {'name': 'x', 'number': '17'}" in logged
    assert "1 keys written, 0 removed" in logged
    run_task(to_hashes("SELECT 'x' AS name, 17 AS number", log_values="false"))
    logged = capsys.readouterr().out
    assert "t:x" not in logged
    assert "1 keys written, 0 removed" in logged


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"key_template": "t:{nobody}"}, "no column nobody; it has name, number"),
        ({"fields": ["number", "nobody"]}, "no column nobody"),
        ({"version_field": "nobody"}, "no column nobody"),
        ({"key_template": "t:{number}", "sql": "SELECT NULL AS number"}, "number is part of the key"),
        ({"key_template": "t:{number}", "sql": "SELECT arrayJoin([1, 1]) AS number"}, "more than one row"),
        ({"expire": 0}, "expire"),
        ({"expire": "soon"}, "expire"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(valkey: Valkey, options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        run_task(to_hashes(**{"sql": "SELECT 'x' AS name, 17 AS number", **options}))
    assert valkey.keys() == []


def test_a_wrong_password_says_so_without_showing_it(connections: pytest.MonkeyPatch, valkey: Valkey) -> None:
    valkey.config_set("requirepass", "right")
    try:
        connections.setenv("VALKEY_PASSWORD", "wrong-password")
        with pytest.raises(Exception, match=r"invalid username-password|WRONGPASS") as failed:
            run_task(to_hashes())
        assert "wrong-password" not in str(failed.value)
    finally:
        valkey.config_set("requirepass", "")


class TestHowTo:
    """The example of docs/how-to-operators.md, which is docs/examples/country_sales.py."""

    EXAMPLE = ROOT / "docs" / "examples" / "country_sales.py"

    def test_the_page_shows_the_example_as_it_is(self) -> None:
        page = (ROOT / "docs" / "how-to-operators.md").read_text(encoding="utf-8")
        assert f"```python\n{self.EXAMPLE.read_text(encoding='utf-8')}```" in page

    def test_the_example_does_what_the_page_says(self, clickhouse: clickhouse_driver.Client, valkey: Valkey) -> None:
        spec = importlib.util.spec_from_file_location("country_sales", self.EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        clickhouse.execute(
            "CREATE TABLE sales (sold_at DateTime('UTC'), country String, amount Decimal(18, 2))"
            " ENGINE = MergeTree ORDER BY sold_at"
        )
        clickhouse.execute(
            "CREATE TABLE country_sales (day Date, country String, orders UInt64, revenue Float64)"
            " ENGINE = MergeTree PARTITION BY day ORDER BY country"
        )
        clickhouse.execute(
            "INSERT INTO sales SELECT toDateTime('2026-11-20 23:00:00', 'UTC') + number * 600,"
            " ['KR', 'US'][number % 2 + 1], 1.25 FROM numbers(12)"
        )
        for _ in range(2):
            run_dag(example.dag, data_interval_start=datetime(2026, 11, 20, tzinfo=UTC))
        assert hashes(valkey) == {
            "sales:KR": {"orders": "3", "revenue": "3.75"},
            "sales:US": {"orders": "3", "revenue": "3.75"},
        }
