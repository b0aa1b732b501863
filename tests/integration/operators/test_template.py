"""What the template operator refuses, keeps, drops and kills, against a real engine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_driver
import pendulum
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from tests.support import run_task, task_context
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("connections")

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to-operators.md"


def template(sql: Any, **options: Any) -> ClickHouseTemplateOperator:
    return ClickHouseTemplateOperator(task_id="sql", sql=sql, **options)


def parsed(sql: Any, folder: Path, *, native: bool = False, dag_id: str = "own", **options: Any) -> Any:
    """Return an operator as the DAG processor hands it on: in a DAG, with its files read."""
    with DAG(dag_id, schedule=None, template_searchpath=[str(folder)], render_template_as_native_obj=native):
        operator = template(sql, **options)
    operator.resolve_template_files()
    return operator


def tables(clickhouse: clickhouse_driver.Client) -> list[str]:
    return [name for (name,) in clickhouse.execute("SHOW TABLES FROM scratch")]


class TestSql:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "first.sql").write_text(
            "CREATE TABLE t (a String) ENGINE = Memory;\nINSERT INTO t SELECT 'C:\\\\';"
        )
        (tmp_path / "second.SQL").write_text("-- {{ params.word }}\nINSERT INTO t\nSELECT %(word)s")
        return tmp_path

    def test_a_list_of_files_and_statements_runs_in_its_order(
        self, clickhouse: clickhouse_driver.Client, folder: Path
    ) -> None:
        sql = ["first.sql", "second.SQL", "INSERT INTO t SELECT 'x;'; INSERT INTO t SELECT 'y'"]
        operator = parsed(sql, folder, parameters={"word": "{{ params.word }}"})
        done = run_task(operator, params={"word": "z"})
        assert len(done["query_ids"]) == 5
        assert sorted(clickhouse.execute("SELECT a FROM t")) == [("C:\\",), ("x;",), ("y",), ("z",)]
        assert sql[0] == "first.sql"

    @pytest.mark.parametrize(
        ("sql", "place"),
        [
            (["first.sql", "second.SQL"], "second.SQL, statement 1 of 1, line 3, column 8: %(word)s has no value"),
            (["first.sql", "SELECT 1;\n\nSELECT 'a"], "sql[1], line 3, column 8: the quote ' is never closed"),
            (("SELECT 1", "SELECT 2; SELECT\n 3 %(x)s"), "sql[1], statement 2 of 2, line 2, column 4: %(x)s has no"),
            ("second.SQL", "second.SQL, statement 1 of 1, line 3"),
            (["first.sql", " -- nothing"], "sql[1]: holds no statement"),
            ([], "sql: the list is empty"),
            (["SELECT 1", 2], "sql[1]: a int, but SQL is text"),
        ],
    )
    def test_what_is_wrong_with_one_of_them_is_named_before_any_is_sent(
        self, clickhouse: clickhouse_driver.Client, folder: Path, sql: Any, place: str
    ) -> None:
        with pytest.raises(AirflowFailException) as failed:
            run_task(parsed(sql, folder), params={"word": "z"})
        assert str(failed.value).startswith(place)
        assert tables(clickhouse) == []

    def test_what_fails_in_clickhouse_is_named_by_its_file(
        self, clickhouse: clickhouse_driver.Client, folder: Path
    ) -> None:
        (folder / "third.sql").write_text("SELECT 1; SELECT no_such_column FROM t")
        with pytest.raises(AirflowException, match=r"third\.sql, statement 2 of 2 failed \(query_id own\.sql/run"):
            run_task(parsed(["first.sql", "third.sql"], folder))

    @pytest.mark.parametrize("sql", ["first.sql", ["SELECT 1", " first.sql\n"], "first.Sql"])
    def test_a_name_that_came_too_late_for_airflow_to_read_its_file_is_no_statement(
        self, clickhouse: clickhouse_driver.Client, folder: Path, sql: Any
    ) -> None:
        operator = parsed("{{ params.word }}", folder)
        # What a template, or another task's result, turns into.
        operator._sql = sql
        with pytest.raises(AirflowFailException, match=r"^first\.[Ss]ql: no such file was read"):
            operator.execute(task_context(operator))


class TestParameters:
    def test_a_value_that_cannot_be_written_is_refused_before_anything_is_sent(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        with pytest.raises(AirflowFailException, match=r"^parameter ids: element 2: a set cannot be written"):
            run_task(template("CREATE TABLE t (a Int8) ENGINE = Memory", parameters={"ids": [1, {2}]}))
        assert tables(clickhouse) == []

    def test_a_subclass_sends_nothing_of_its_own_either(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute("CREATE TABLE t (d Date) ENGINE = MergeTree PARTITION BY d ORDER BY d")
        operator = ClickHouseReplacePartitionOperator(
            task_id="replace",
            table="t",
            partition="2026-11-20",
            sql="INSERT INTO t SELECT %(day)s",
            parameters={"day": b"2026-11-20"},
        )
        with pytest.raises(AirflowFailException, match="parameter day: a bytes"):
            operator.execute(task_context(operator))
        assert operator.totals()["query_ids"] == []

    def test_values_are_stored_as_they_were(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute(
            "CREATE TABLE t (price Decimal(38, 20), big UInt256, at DateTime64(6, 'UTC'), local DateTime('UTC'),"
            " day Date, tags Array(String), pair Tuple(String, Nullable(Int64)), is_new Bool) ENGINE = Memory"
        )
        values = {
            "price": Decimal("123456789012345678.10000000000000000001"),
            "big": 2**200 + 1,
            "at": datetime(2026, 11, 20, 1, 2, 3, 456789, tzinfo=UTC),
            "local": datetime(2026, 11, 20, 9),
            "day": date(2026, 11, 20),
            "tags": ["it's", "100%", "\\", "%(price)s", "줄\n한"],
            "pair": ("a;b", None),
            "is_new": True,
        }
        names = ", ".join(f"%({name})s" for name in values)
        run_task(template(f"INSERT INTO t SELECT {names} -- 100% of them", parameters=values, timezone="Asia/Seoul"))
        # The local time is the operator's, nine hours ahead.
        expected = {**values, "local": datetime(2026, 11, 20, tzinfo=UTC)}
        (row,) = clickhouse.execute("SELECT * FROM t")
        assert dict(zip(values, row, strict=True)) == expected

    @pytest.mark.parametrize(
        ("sql", "words"),
        [
            ("SELECT number FROM numbers(9) LIMIT %(n)s", "Code: 440.*parameter n is the text '3'"),
            ("SELECT %(n)s * 2", "Code: 43.*parameter n is the text '3'"),
            ("SELECT 1 WHERE 2 IN %(all)s", r"Code: 53.*parameter all is the text '\[2, 3\]'"),
            ("SELECT has([1], %(n)s), '%%'", "Code: 386.*parameter n is the text '3'"),
            ("SELECT if(%(yes)s, 1, 2), %(day)s", "Code: 43.*parameter yes is the text 'True'"),
        ],
    )
    def test_a_text_where_another_type_should_be_is_explained(
        self, clickhouse: clickhouse_driver.Client, sql: str, words: str
    ) -> None:
        parameters = {"n": "{{ params.n }}", "all": "{{ params.all }}", "yes": "{{ params.yes }}", "day": "2026-11-20"}
        with pytest.raises(AirflowException, match=f"(?s){words}: .*native_obj") as failed:
            run_task(template(sql, parameters=parameters), params={"n": 3, "all": [2, 3], "yes": True})
        assert str(failed.value).count("is the text") == 1

    def test_other_errors_are_not_explained_by_types(self, clickhouse: clickhouse_driver.Client) -> None:
        with pytest.raises(AirflowException, match="Code: 47") as failed:
            run_task(template("SELECT %(n)s + no_such_column", parameters={"n": "3"}))
        assert "is the text" not in str(failed.value)

    def test_natively_rendered_parameters_keep_their_types(
        self, clickhouse: clickhouse_driver.Client, tmp_path: Path
    ) -> None:
        clickhouse.execute("CREATE TABLE t (n UInt8, at DateTime64(6, 'UTC'), tags Array(UInt8)) ENGINE = Memory")
        # As Airflow has it.
        at = pendulum.datetime(2026, 11, 20, 1, 2, 3, 5)
        operator = parsed(
            "INSERT INTO t SELECT number, %(at)s, %(tags)s FROM numbers(9) LIMIT %(limit)s",
            tmp_path,
            native=True,
            parameters={
                "limit": "{{ params.limit }}",
                "at": "{{ data_interval_start }}",
                "tags": "{{ params.tags }}",
            },
        )
        run_task(operator, params={"limit": 2, "tags": [3, 1]}, data_interval_start=at)
        assert clickhouse.execute("SELECT * FROM t ORDER BY n") == [(0, at, [3, 1]), (1, at, [3, 1])]


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"nonsense_setting": 1}, "setting 'nonsense_setting': the server knows no setting of this name"),
            ({"max_thread": "{{ params.threads }}"}, "setting 'max_thread': the server knows"),
            ({"max_threads": 2, "SQL_own": "it's"}, "setting 'SQL_own': the server knows"),
            ({"max_threads; SELECT 1": 1}, "that is no setting's name"),
            ({"max_threads": None}, "setting 'max_threads': a NoneType is no value of a setting"),
            ({"log_comment": {"a": 1}}, "setting 'log_comment': a dict is no value"),
        ],
    )
    def test_what_is_no_setting_is_refused_by_name_before_the_first_statement(
        self, clickhouse: clickhouse_driver.Client, settings: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(AirflowFailException, match=words):
            run_task(template("CREATE TABLE t (a Int8) ENGINE = Memory", settings=settings), params={"threads": 1})
        assert tables(clickhouse) == []

    def test_a_bad_value_is_an_error(self, clickhouse: clickhouse_driver.Client) -> None:
        with pytest.raises(AirflowException, match="Code: "):
            run_task(template("CREATE TABLE t (a Int8) ENGINE = Memory", settings={"max_threads": "many"}))
        assert tables(clickhouse) == []

    def test_settings_of_the_connection_are_looked_at_too(
        self, clickhouse: clickhouse_driver.Client, connections: pytest.MonkeyPatch
    ) -> None:
        connection = '{"conn_type": "clickhouse", "extra": {"settings": {"max_thread": 1}}}'
        connections.setenv("AIRFLOW_CONN_CLICKHOUSE_DEFAULT", connection)
        with pytest.raises(AirflowFailException, match="setting 'max_thread': the server knows no"):
            run_task(template("SELECT 1"))

    def test_known_settings_former_names_and_truth_values_apply(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute("CREATE TABLE t (name String, value String) ENGINE = Memory")
        settings = {
            "replication_alter_partitions_sync": 2,
            "any_join_distinct_right_table_keys": True,
            "max_threads": 3,
        }
        run_task(
            template(
                "INSERT INTO t SELECT name, value FROM system.settings"
                " WHERE name IN ('alter_sync', 'any_join_distinct_right_table_keys', 'max_threads')",
                settings=settings,
            )
        )
        assert dict(clickhouse.execute("SELECT * FROM t")) == {
            "alter_sync": "2",
            "any_join_distinct_right_table_keys": "1",
            "max_threads": "3",
        }


class TestRows:
    def test_rows_that_nobody_gets_stay_out_of_memory_and_are_counted(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        sql = "SELECT number, toString(number) FROM numbers(1000000); SELECT number FROM numbers(500000)"
        tracemalloc.start()
        try:
            done = run_task(template(sql))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert done["read_rows"] == 1_500_000
        # A block of 65,536 rows is some 10 MB, all rows would be 150.
        assert peak < 40_000_000

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT number % 2 AS a, count() FROM numbers(5) GROUP BY a WITH TOTALS",
            "SELECT number FROM numbers(5) WHERE 0",
            "SELECT 1 FORMAT JSONEachRow",
            "SHOW TABLES",
            "DESCRIBE TABLE t",
            "EXISTS TABLE t",
            "EXPLAIN SELECT 1",
            "OPTIMIZE TABLE t FINAL",
            "SYSTEM FLUSH LOGS",
            "SET max_threads = 1",
            "USE scratch",
            "ALTER TABLE t DELETE WHERE a = 1 SETTINGS mutations_sync = 2",
            "KILL QUERY WHERE query_id = 'nobody''s' ASYNC",
            "INSERT INTO t VALUES (1), (2)",
            "INSERT INTO t FORMAT CSV\n3\n4\n",
            "WITH 5 AS x INSERT INTO t SELECT x",
            "TRUNCATE TABLE t",
        ],
    )
    def test_statements_of_every_kind_run_to_their_end(self, clickhouse: clickhouse_driver.Client, sql: str) -> None:
        clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
        done = run_task(template(["INSERT INTO t SELECT 1", sql]))
        assert len(done["query_ids"]) == 2

    def test_the_last_statements_rows_are_there_for_a_subclass(self, clickhouse: clickhouse_driver.Client) -> None:
        operator = template("SELECT 1 AS a; SELECT number AS b, 'x' AS c FROM numbers(2)")
        with operator.hook().session() as session:
            kept = operator.run_sql(session, task_context(operator))
            dropped = operator.run_sql(session, task_context(operator), keep_rows=False)
        assert (kept.names, kept.rows) == (["b", "c"], [(0, "x"), (1, "x")])
        assert (dropped.names, dropped.rows) == (["b", "c"], [])


class TestKill:
    """A statement that never ends, in a task that is told to."""

    _ENDLESS = "SELECT max(cityHash64(number)) FROM system.numbers /* endless {} */"

    @pytest.fixture(params=["its connection closes", "its connection stays open"])
    def _closing(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        left: list[clickhouse_driver.Client] = []
        if request.param == "its connection stays open":
            # A server that does not notice: only the KILL can stop the statement.
            monkeypatch.setattr(clickhouse_driver.Client, "disconnect", lambda client: left.append(client))
        yield
        monkeypatch.undo()
        for client in left:
            client.disconnect()

    def running(self, clickhouse: clickhouse_driver.Client, mark: str) -> int:
        ((count,),) = clickhouse.execute(
            "SELECT count() FROM system.processes WHERE query LIKE %(like)s AND query NOT LIKE '%%processes%%'",
            {"like": f"%endless {mark}%"},
        )
        return int(count)

    def time_out(self, clickhouse: clickhouse_driver.Client, mark: str, run: Callable[[], object]) -> None:
        """Run something under Airflow's time-out, which comes as soon as the statement runs."""

        def interrupt() -> None:
            eventually(lambda: self.running(clickhouse, mark) == 1)
            os.kill(os.getpid(), signal.SIGALRM)

        with timeout(600):
            watcher = threading.Thread(target=interrupt)
            watcher.start()
            try:
                run()
            finally:
                watcher.join()

    @pytest.mark.usefixtures("_closing")
    def test_a_time_out_kills_the_statement(
        self, clickhouse: clickhouse_driver.Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        operator = template(f"SELECT 1; {self._ENDLESS.format('a')}; SELECT 2")
        context = task_context(operator)
        with pytest.raises(AirflowTaskTimeout):
            self.time_out(clickhouse, "a", lambda: operator.execute(context))
        # As Airflow does next.
        operator.on_kill()
        eventually(lambda: self.running(clickhouse, "a") == 0)
        assert "Killed query adhoc_airflow.sql/run/try1.2" in capsys.readouterr().out

    def test_a_time_out_kills_an_insert_and_its_stage_table_goes_too(
        self, clickhouse: clickhouse_driver.Client
    ) -> None:
        clickhouse.execute("CREATE TABLE t (d Date) ENGINE = MergeTree PARTITION BY d ORDER BY d")
        operator = ClickHouseReplacePartitionOperator(
            task_id="replace",
            table="t",
            partition="2026-11-20",
            sql="INSERT INTO {{ stage_table }} SELECT '2026-11-20' FROM system.numbers /* endless b */",
        )
        with pytest.raises(AirflowTaskTimeout):
            self.time_out(clickhouse, "b", lambda: run_task(operator))
        eventually(lambda: self.running(clickhouse, "b") == 0)
        assert tables(clickhouse) == ["t"]

    def test_a_server_out_of_reach_does_not_hide_the_time_out(
        self,
        clickhouse: clickhouse_driver.Client,
        connections: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        operator = template(self._ENDLESS.format("c"))
        context = task_context(operator)
        with operator.hook().session() as session:
            session.run("SELECT 1")
            connections.setenv("CLICKHOUSE_NATIVE_PORT", "1")
            with pytest.raises(AirflowTaskTimeout):
                self.time_out(clickhouse, "c", lambda: operator.run_sql(session, context))
        assert "Query adhoc_airflow.sql/run/try1.1 could not be killed: NetworkError" in capsys.readouterr().out
        eventually(lambda: self.running(clickhouse, "c") == 0)

    @pytest.mark.parametrize("sql", ["SELECT 1", "SELECT no_such_column", "SELECT 1; SELECT throwIf(1)"])
    def test_after_the_end_there_is_nothing_to_kill(
        self, clickhouse: clickhouse_driver.Client, capsys: pytest.CaptureFixture[str], sql: str
    ) -> None:
        operator = template(sql)
        with contextlib.suppress(AirflowException):
            operator.execute(task_context(operator))
        operator.on_kill()
        assert "illed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dag_id", "task_id", "map_index", "prefix"),
    [
        ("sales", "roll_up", -1, "sales.roll_up/"),
        ("sales.eu", "group.roll_up", 0, "sales.eu.group.roll_up/0/"),
        ("sales", "group.roll.up", 11, "sales.group.roll.up/11/"),
    ],
)
def test_the_pages_statement_finds_a_tasks_statements(
    clickhouse: clickhouse_driver.Client, tmp_path: Path, dag_id: str, task_id: str, map_index: int, prefix: str
) -> None:
    section = _PAGE.read_text().partition("## Query ids")[2]
    statement = section.partition("```sql\n")[2].partition("\n```")[0]
    with DAG(dag_id, schedule=None):
        operator = ClickHouseTemplateOperator(task_id=task_id, sql="SELECT 1; SELECT throwIf(1)")
    with pytest.raises(AirflowException, match="throwIf"):
        run_task(operator, map_index=map_index, run_id="manual__2026-11-21T00:00:00+00:00")
    clickhouse.execute("SYSTEM FLUSH LOGS")
    (example,) = re.findall(r"startsWith\(id, '([^']+/)'\)", statement)
    found = clickhouse.execute(statement.replace(example, prefix))
    ids = {row[0] for row in found}
    assert {f"{prefix}manual__2026-11-21T00:00:00+00:00/try1.{number}" for number in (1, 2)} <= ids
