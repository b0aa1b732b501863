"""The ClickHouse operators against a real engine, without a scheduler."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import clickhouse_driver
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.clickhouse_checks import ClickHouseTableCheckOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from tests.support import run_task, task_context

if TYPE_CHECKING:
    from pathlib import Path

    from embedded_clickhouse.testing import Server

pytestmark = pytest.mark.usefixtures("connections")


def template(sql: str, **options: Any) -> ClickHouseTemplateOperator:
    return ClickHouseTemplateOperator(task_id="sql", sql=sql, **options)


class TestTemplate:
    def test_runs_every_statement_and_returns_what_it_cost(self, clickhouse: clickhouse_driver.Client) -> None:
        totals = run_task(
            template(
                """
                -- makes a table; and fills it
                CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a;
                INSERT INTO t SELECT number, %(text)s FROM numbers(1000);
                SELECT count() FROM t WHERE b LIKE '%%;%%' AND b = %(text)s;
                SELECT count() FROM t WHERE a % 2
                """,
                parameters={"text": "it's {{ params.word }} 100%"},
            ),
            params={"word": "quoted;"},
        )
        assert clickhouse.execute("SELECT count(), any(b) FROM t") == [(1000, "it's quoted; 100%")]
        assert totals["written_rows"] == 1000
        assert totals["read_rows"] >= 1000
        assert len(totals["query_ids"]) == 4

    def test_query_id_names_dag_task_run_and_try(self, clickhouse: clickhouse_driver.Client) -> None:
        totals = run_task(template("SELECT 1; SELECT 2"), run_id="manual__2026-11-21T00:00:00+00:00", try_number=3)
        task_try = "adhoc_airflow.sql/manual__2026-11-21T00:00:00+00:00/try3"
        assert totals["query_ids"] == [f"{task_try}.1", f"{task_try}.2"]

    @pytest.mark.parametrize(
        ("map_index", "place"), [(-1, ""), (None, ""), (0, "/0"), (1, "/1"), (10, "/10"), (1023, "/1023")]
    )
    def test_query_id_names_the_instance_of_a_mapped_task_the_first_one_too(
        self, clickhouse: clickhouse_driver.Client, map_index: Any, place: str
    ) -> None:
        totals = run_task(template("SELECT 1"), map_index=map_index)
        assert totals["query_ids"] == [f"adhoc_airflow.sql{place}/run/try1.1"]

    def test_times_without_a_zone_are_in_the_operators_zone(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute("CREATE TABLE t (at Int64) ENGINE = Memory")
        sql = "INSERT INTO t SELECT toUnixTimestamp(toDateTime('2026-11-20 00:00:00'))"
        run_task(template(sql))
        run_task(template(sql, timezone="Asia/Seoul"))
        assert sorted(clickhouse.execute("SELECT at FROM t")) == [(1_795_100_400,), (1_795_132_800,)]

    def test_settings_apply(self, clickhouse: clickhouse_driver.Client) -> None:
        with pytest.raises(AirflowException, match="Limit for result exceeded"):
            run_task(template("SELECT number FROM numbers(100)", settings={"max_result_rows": 10}))

    def test_a_failing_statement_is_named_by_file_place_and_cause(self, tmp_path: Path) -> None:
        (tmp_path / "broken.sql").write_text("SELECT 1;\nSELEC 2")
        operator = template("broken.sql")
        operator.template_searchpath = [str(tmp_path)]
        operator._sql = (tmp_path / "broken.sql").read_text()
        with pytest.raises(AirflowException) as failed:
            operator.execute(task_context(operator))
        assert "broken.sql, statement 2 of 2" in str(failed.value)
        assert "Code: 62" in str(failed.value)
        assert "Stack trace" not in str(failed.value)

    def test_a_file_that_is_not_there_is_named(self) -> None:
        operator = template("nowhere.sql")
        with pytest.raises(AirflowException, match=r"nowhere\.sql: no such file"):
            operator.execute(task_context(operator))

    def test_a_wrong_password_and_an_unreachable_host_say_so(
        self, connections: pytest.MonkeyPatch, clickhouse_server: Server
    ) -> None:
        connections.setenv("CLICKHOUSE_PASSWORD", "wrong-password")
        with pytest.raises(AirflowException, match=r"Code: 516|AUTHENTICATION_FAILED") as failed:
            run_task(template("SELECT 1"))
        assert "wrong-password" not in str(failed.value)
        connections.setenv("CLICKHOUSE_NATIVE_PORT", "1")
        with pytest.raises(AirflowException, match=r"127\.0\.0\.1:1|refused"):
            run_task(template("SELECT 1"))

    def test_killing_the_task_stops_its_statement(self, clickhouse: clickhouse_driver.Client) -> None:
        operator = template("SELECT max(cityHash64(number)) FROM system.numbers /* endless */")
        running_query = (
            "SELECT count() FROM system.processes WHERE query LIKE '%endless *%' AND query NOT LIKE '%processes%'"
        )
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run_task_of, operator)
            wait_for(lambda: clickhouse.execute(running_query) == [(1,)])
            operator.on_kill()
            with pytest.raises(AirflowException, match=r"Code: 394|cancel"):
                running.result(timeout=30)


def run_task_of(operator: Any) -> Any:
    """Run the very operator, not a copy as run_task does."""
    return operator.execute(task_context(operator))


def wait_for(condition: Any) -> None:
    deadline = threading.Event()
    for _ in range(300):
        if condition():
            return
        deadline.wait(0.1)
    raise AssertionError("waited for 30 s in vain")


def replace_partition(**options: Any) -> ClickHouseReplacePartitionOperator:
    settings: dict[str, Any] = {
        "sql": "INSERT INTO {{ stage_table }} SELECT toDate(%(day)s), number FROM source",
        "parameters": {"day": "2026-11-20"},
        "table": "target",
        "partition": "2026-11-20",
    }
    return ClickHouseReplacePartitionOperator(task_id="replace", **{**settings, **options})


class TestReplacePartition:
    @pytest.fixture(autouse=True)
    def _tables(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute("CREATE TABLE source (number UInt64) ENGINE = MergeTree ORDER BY number")
        clickhouse.execute("INSERT INTO source SELECT number FROM numbers(100)")
        clickhouse.execute(
            "CREATE TABLE target (day Date, value UInt64) ENGINE = MergeTree PARTITION BY day ORDER BY value"
        )
        clickhouse.execute("INSERT INTO target SELECT toDate('2026-11-19'), number FROM numbers(7)")

    def days(self, clickhouse: clickhouse_driver.Client) -> dict[str, int]:
        rows = clickhouse.execute("SELECT toString(day), count() FROM target GROUP BY day")
        return dict(rows)

    def stage_tables(self, clickhouse: clickhouse_driver.Client) -> list[str]:
        return [name for (name,) in clickhouse.execute("SHOW TABLES") if "__stage_" in name]

    def test_replaces_its_partition_alone_and_again_without_repeats(self, clickhouse: clickhouse_driver.Client) -> None:
        first = run_task(replace_partition())
        clickhouse.execute("TRUNCATE TABLE source")
        clickhouse.execute("INSERT INTO source SELECT number FROM numbers(50)")
        second = run_task(replace_partition(), try_number=2)
        assert (first["rows"], second["rows"]) == (100, 50)
        assert first["partition"] == "2026-11-20"
        assert self.days(clickhouse) == {"2026-11-19": 7, "2026-11-20": 50}
        assert self.stage_tables(clickhouse) == []

    def test_without_source_rows_and_without_former_rows_it_is_skipped(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        clickhouse.execute("TRUNCATE TABLE source")
        with pytest.raises(AirflowSkipException, match="no rows for 2026-11-20 and nothing is written yet"):
            run_task(replace_partition())
        assert self.days(clickhouse) == {"2026-11-19": 7}
        assert self.stage_tables(clickhouse) == []

    def test_without_source_rows_but_with_former_rows_it_fails_and_leaves_them(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        run_task(replace_partition())
        clickhouse.execute("TRUNCATE TABLE source")
        with pytest.raises(AirflowFailException, match=r"no rows for 2026-11-20.*holds 100 rows.*allow_empty"):
            run_task(replace_partition())
        assert self.days(clickhouse) == {"2026-11-19": 7, "2026-11-20": 100}

    def test_an_allowed_empty_partition_is_emptied(self, clickhouse: clickhouse_driver.Client) -> None:
        run_task(replace_partition())
        clickhouse.execute("TRUNCATE TABLE source")
        assert (
            run_task(replace_partition(allow_empty="{{ params.allow_empty }}"), params={"allow_empty": True})["rows"]
            == 0
        )
        assert self.days(clickhouse) == {"2026-11-19": 7}

    def test_a_failing_statement_leaves_the_partition_and_no_stage_table(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        run_task(replace_partition())
        with pytest.raises(AirflowException, match="statement 1 of 1"):
            run_task(replace_partition(sql="INSERT INTO {{ stage_table }} SELECT throwIf(number = 50) FROM source"))
        assert self.days(clickhouse) == {"2026-11-19": 7, "2026-11-20": 100}
        assert self.stage_tables(clickhouse) == []

    def test_drops_what_its_own_killed_tries_left_and_leaves_the_tables_of_others(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        operator = replace_partition()
        own = operator.stage_table(task_context(operator, try_number=1))
        others = operator.stage_table(task_context(operator, run_id="other"))
        for name in (own, others):
            clickhouse.execute(f"CREATE TABLE {name} AS target")
        run_task(replace_partition(), try_number=2)
        assert self.stage_tables(clickhouse) == [others]

    def test_warnings_are_counted_in_the_stage_table(self, clickhouse: clickhouse_driver.Client) -> None:
        done = run_task(replace_partition(warnings={"odd values": "SELECT countIf(value % 2) FROM {{ stage_table }}"}))
        assert done["warnings"] == {"odd values": 50}

    def test_rows_that_fail_a_check_are_left_out_named_and_counted_and_the_others_are_published(
        self, clickhouse: clickhouse_driver.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        done = run_task(
            replace_partition(
                other_partitions="drop",
                sql="INSERT INTO {{ stage_table }}"
                " SELECT toDate(if(number = 5, '2026-11-21', %(day)s)), number FROM source",
                row_checks={"is_small": "value < 80", "is_known": "nullIf(value, 7) >= 0", "holds": "true"},
            )
        )
        # Row 5 is of another partition: neither published nor checked. Row 7's second check is NULL.
        assert done["rows"] == 78
        assert done["warnings"] == {
            "rows that fail check is_small": 20,
            "rows that fail check is_known": 1,
            "rows that fail check holds": 0,
        }
        values = {value for (value,) in clickhouse.execute("SELECT value FROM target WHERE day = '2026-11-20'")}
        assert values == set(range(80)) - {5, 7}
        messages = [record.getMessage() for record in caplog.records if "fail check" in record.getMessage()]
        assert len(messages) == 2
        assert messages[0].count("day=2026-11-20, value=") == 10
        assert "'day=2026-11-20, value=7'" in messages[1]
        assert self.stage_tables(clickhouse) == []

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"checks": {"enough": "count() > 100"}}, r"enough: count\(\) > 100"),
            ({"checks": {"fine": "count() = 100", "known": "max(nullIf(value, value)) > 0"}}, "known: max"),
            ({"row_checks": {"impossible": "value > 1000"}}, "no row passes the checks.*impossible: 100, such as day="),
            ({"row_checks": {"odd": "value % 2", "even": "value % 2 = 0"}}, "no row passes the checks"),
        ],
    )
    def test_a_partition_that_is_wrong_as_a_whole_is_not_swapped_in_and_not_tried_again(
        self, clickhouse: clickhouse_driver.Client, options: dict[str, Any], words: str
    ) -> None:
        run_task(replace_partition())
        before = clickhouse.execute("SELECT * FROM target ORDER BY ALL")
        with pytest.raises(AirflowFailException, match=f"target, partition 2026-11-20: .*{words}"):
            run_task(replace_partition(**options))
        assert clickhouse.execute("SELECT * FROM target ORDER BY ALL") == before
        assert self.stage_tables(clickhouse) == []

    def test_checks_see_the_rows_that_are_left(self, clickhouse: clickhouse_driver.Client) -> None:
        done = run_task(
            replace_partition(
                row_checks={"is_small": "value < 80"}, checks={"all_small": "max(value) < 80 AND count() = 80"}
            )
        )
        assert done["rows"] == 80

    def test_what_was_left_out_is_reported_with_the_newest_run_last(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute(
            "CREATE TABLE report (table_name String, partition String, cause String, rows UInt64,"
            " examples Array(String), reported_at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY reported_at"
        )
        left_out = (
            "SELECT 'odd\\'s values' AS cause, countIf(value % 2), [toString(max(value)), '한 \\\\ \\'x\\'']"
            " FROM {{ stage_table }}"
            " UNION ALL SELECT 'none', 0, []"
        )
        report = {"report_table": "report"}
        done = run_task(replace_partition(left_out=left_out, row_checks={"is_small": "value < 99"}, **report))
        assert done["warnings"] == {"odd's values": 50, "none": 0, "rows that fail check is_small": 1}
        found = clickhouse.execute("SELECT table_name, partition, cause, rows, examples FROM report ORDER BY cause")
        assert found == [
            ("target", "2026-11-20", "none", 0, []),
            ("target", "2026-11-20", "odd's values", 50, ["99", "한 \\ 'x'"]),
            ("target", "2026-11-20", "rows that fail check is_small", 1, ["day=2026-11-20, value=99"]),
        ]
        assert clickhouse.execute("SELECT uniqExact(reported_at) FROM report") == [(1,)]
        # A run that leaves nothing out says so, and takes the place of the one before.
        run_task(replace_partition(**report))
        newest = "SELECT cause, rows FROM report WHERE reported_at = (SELECT max(reported_at) FROM report)"
        assert clickhouse.execute(newest) == [("", 0)]

    def test_four_runs_at_once_leave_one_set_of_rows_and_readers_see_whole_partitions(
        self, clickhouse: clickhouse_driver.Client, clickhouse_server: Server
    ) -> None:
        run_task(replace_partition())
        seen: set[tuple[int, int]] = set()
        done = threading.Event()

        def read() -> None:
            reader = clickhouse_driver.Client(**clickhouse_server.native_arguments("scratch"))
            while not done.is_set():
                seen.update(reader.execute("SELECT count(), uniqExact(value) FROM target WHERE day = '2026-11-20'"))
            reader.disconnect()

        reading = threading.Thread(target=read)
        reading.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: run_task(replace_partition(), run_id=f"run{number}"), range(12)))
        done.set()
        reading.join()
        assert seen == {(100, 100)}
        assert self.days(clickhouse) == {"2026-11-19": 7, "2026-11-20": 100}
        assert self.stage_tables(clickhouse) == []

    def test_the_targets_name_is_checked(self) -> None:
        with pytest.raises(ValueError, match="not a table name"):
            replace_partition(table="target; DROP TABLE source")


def test_a_failed_table_check_fails_the_task(clickhouse: clickhouse_driver.Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    checks = {"has_rows": {"check_statement": "count() > 0"}}
    with pytest.raises(AirflowException, match="has_rows"):
        run_task(ClickHouseTableCheckOperator(task_id="check", table="t", checks=checks))
    clickhouse.execute("INSERT INTO t VALUES", [(1,)])
    run_task(ClickHouseTableCheckOperator(task_id="check", table="t", checks=checks))
