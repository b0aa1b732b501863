"""What the daily job's checks find, and that a day they refuse is not cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException

from tests.support import daily_task, hashes, make_tables, run_task

if TYPE_CHECKING:
    import clickhouse_driver

    from local.clickhouse.testing import Server
    from tests.support import Valkey

pytestmark = pytest.mark.usefixtures("connections")

DAY = "2026-11-20"
PARAMS = {"stat_date": DAY}
GOOD = {"package_nm": "a", "server_type": 1, "os_type": "iOS", "dau": 2, "revisit_7d": 1, "mau": 3, "pv": 4}


@pytest.fixture(autouse=True)
def _tables(clickhouse: clickhouse_driver.Client, clickhouse_server: Server) -> None:
    make_tables(clickhouse_server, database="scratch")


def write(clickhouse: clickhouse_driver.Client, **values: Any) -> None:
    row = {**GOOD, **values}
    columns = ", ".join(row)
    clickhouse.execute(
        f"INSERT INTO max_device_statistic (stat_date, {columns}) SELECT toDate('{DAY}'), "
        + ", ".join(f"%({name})s" for name in row),
        row,
    )


def check_and_cache(params: dict[str, Any]) -> None:
    for task_id in ("check_columns", "check_table", "cache"):
        run_task(daily_task(task_id), params=params)


def test_a_sound_day_passes_and_is_cached(clickhouse: clickhouse_driver.Client, valkey: Valkey) -> None:
    write(clickhouse)
    check_and_cache(PARAMS)
    assert list(hashes(valkey)) == [f"stats:realtime:daily:{DAY}:a:1:iOS"]


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"dau": 4}, "dau_within_mau"),
        ({"revisit_7d": 3}, "revisit_7d_within_dau"),
        ({"pv": 2**64 - 1}, "Column: pv"),
        ({"visit": 2**63}, "Column: visit"),
        ({}, "one_row_per_key"),
    ],
)
def test_an_unsound_day_is_named_and_valkey_keeps_what_it_had(
    clickhouse: clickhouse_driver.Client, valkey: Valkey, values: dict[str, Any], check: str
) -> None:
    write(clickhouse)
    check_and_cache(PARAMS)
    before = hashes(valkey)
    # Another key, unless the fault is that there is none.
    write(clickhouse, **({"package_nm": "b", **values} if values else {}))
    with pytest.raises(AirflowException, match=check):
        check_and_cache(PARAMS)
    assert hashes(valkey) == before


def test_an_empty_day_passes_only_when_it_is_allowed_and_then_its_keys_go(
    clickhouse: clickhouse_driver.Client, valkey: Valkey
) -> None:
    write(clickhouse)
    check_and_cache(PARAMS)
    clickhouse.execute(f"ALTER TABLE max_device_statistic DROP PARTITION '{DAY}'")
    with pytest.raises(AirflowException, match="has_rows"):
        check_and_cache(PARAMS)
    assert len(hashes(valkey)) == 1
    check_and_cache({**PARAMS, "allow_empty": True})
    assert hashes(valkey) == {}
