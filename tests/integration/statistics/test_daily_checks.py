"""What the daily job's checks find, and that a day they refuse is not cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException

from tests.support import daily_task, hashes, make_tables, run_task

if TYPE_CHECKING:
    import clickhouse_driver

    from embedded_clickhouse.testing import Server
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


class TestPoison:
    """One row of one phone, or of one collector, that is beyond anything."""

    BEGAN = f"{DAY} 02:00:00"

    def page(self, clickhouse: clickhouse_driver.Client, device: str, package: str = "max.app", **values: Any) -> None:
        row = {
            "device_id": device,
            "page_start_tm": 1_795_140_000_000,
            "page_start_tm_dt": self.BEGAN,
            "sum_mem_usage": 1,
            "package_nm": package,
            "server_type": 0,
            "os_type": "Web",
            "log_type": 1048580,
            **values,
        }
        clickhouse.execute(
            f"INSERT INTO maxy_device_page_flow ({', '.join(row)}) SELECT "
            + ", ".join(
                f"toDateTime(%({name})s, 'UTC')" if name == "page_start_tm_dt" else f"%({name})s" for name in row
            ),
            row,
        )

    def run(self) -> dict[str, Any]:
        done = {task_id: run_task(daily_task(task_id), params=PARAMS) for task_id in ("rollup",)}
        check_and_cache(PARAMS)
        return done["rollup"]

    def test_counters_sent_as_unsigned_minus_ones_stop_nobody(
        self, clickhouse: clickhouse_driver.Client, valkey: Valkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(2):
            self.page(clickhouse, f"bad{number}", log_count=2**64 - 1, crash_count=2**32 - 1, lcp=1.7e308)
        self.page(clickhouse, "good", log_count=3, crash_count=1, lcp=2500.0)
        self.page(clickhouse, "other", "other.app", log_count=5)
        done = self.run()
        columns = "package_nm, pv, log_count, crash_count, lcp_avg, dau"
        assert clickhouse.execute(f"SELECT {columns} FROM max_device_statistic ORDER BY package_nm") == [
            ("max.app", 3, 3, 1, 2500.0, 3),
            ("other.app", 1, 5, 0, 0.0, 1),
        ]
        assert len(hashes(valkey, "*:daily:*")) == 2
        left_out = {cause: rows for cause, rows in done["warnings"].items() if rows}
        assert left_out == {f"values of {name} out of range": 2 for name in ("log_count", "crash_count", "lcp")}
        assert "values of lcp out of range: 2, such as 'max.app 0 Web: 2'" in caplog.text
        report = clickhouse.execute(
            "SELECT cause, rows, examples FROM maxy_partition_report WHERE rows > 0 AND partition = %(day)s"
            " ORDER BY cause",
            {"day": DAY},
        )
        assert report == [(cause, 2, ["max.app 0 Web: 2"]) for cause in sorted(left_out)]

    def test_a_collector_that_counts_visits_down_stops_nobody(
        self, clickhouse: clickhouse_driver.Client, valkey: Valkey
    ) -> None:
        self.page(clickhouse, "good")
        for login in (2**64 - 1, 7):
            clickhouse.execute(
                "INSERT INTO maxy_device_access_history"
                " (log_date, package_nm, server_type, os_type, device_id, login_cnt)"
                f" SELECT toDate('{DAY}'), 'max.app', 0, 'Web', concat('c', toString(%(login)s)), %(login)s",
                {"login": login},
            )
        before = self.run()["warnings"]["values of login out of range"]
        found = clickhouse.execute("SELECT visit, login, dau FROM max_device_statistic")
        # Whether parts are merged or not is the server's affair.
        clickhouse.execute("OPTIMIZE TABLE maxy_device_access_history FINAL")
        after = self.run()["warnings"]["values of login out of range"]
        assert (before, after) == (1, 1)
        assert found == clickhouse.execute("SELECT visit, login, dau FROM max_device_statistic") == [(1, 7, 3)]

    def test_a_range_that_is_set_holds_for_the_next_run(
        self, clickhouse: clickhouse_driver.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.page(clickhouse, "slow", lcp=2500.0)
        self.page(clickhouse, "fast", lcp=1500.0)
        self.page(clickhouse, "nothing", lcp=None)
        averages = []
        for ranges in ('{"lcp": [0, 2000]}', '{"lcp": [2000.5, 3000]}', "{}"):
            monkeypatch.setenv("AIRFLOW_VAR_MAXY_METRIC_RANGES", ranges)
            averages.append((self.run()["warnings"]["values of lcp out of range"], *self.lcp(clickhouse)))
        assert averages == [(1, 1500.0), (1, 2500.0), (0, 2000.0)]

    def lcp(self, clickhouse: clickhouse_driver.Client) -> tuple[float]:
        ((average,),) = clickhouse.execute("SELECT lcp_avg FROM max_device_statistic")
        return (average,)
