"""Compute one partition of a ClickHouse table and swap it in as a whole."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from maxy._parsing import as_bool
from maxy.operators._identifiers import checked_table_name
from maxy.operators._stage_checks import StageChecks, write_report
from maxy.operators.clickhouse import ClickHouseTemplateOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import jinja2
    from airflow.sdk import Context

    from maxy.hooks.clickhouse import ClickHouseSession


class ClickHouseReplacePartitionOperator(ClickHouseTemplateOperator):
    """Fill a stage table by SQL, then put it in the place of one partition of the target, in one step.

    Readers see the partition as it was or as it is, never a part of it. A repeated run leaves the same rows and no
    others. No row passes through the worker. Concurrent runs each have a stage table of their own; the last one wins.

    The stage table belongs to one try of one task instance, is made like the target (``CREATE TABLE ... AS``) and is
    dropped at the end. What a killed try left behind is dropped by the next try of the same task instance, or by any
    later run once it is a day old. That also fences a try which is still alive somewhere: it cannot swap any more.

    Before the swap the stage table is checked. A row that fails one of ``row_checks`` is left out, named and counted,
    and the others are published. If ``checks`` find the partition as a whole wrong, the target stays as it is and the
    task fails without retries, since another try would find the same.

    Returns (XCom) what :class:`ClickHouseTemplateOperator` returns, and ``partition``, ``rows`` (now in the partition)
    and ``warnings`` (the counts of the warnings below and of what was left out, by name).

    :param sql: statements that fill ``{{ stage_table }}``, usually one ``INSERT ... SELECT``. (templated; besides
        Airflow's own variables the template has ``stage_table``)
    :param table: the target: a MergeTree table, partitioned by one column.
    :param partition: the partition's value as ClickHouse prints it, e.g. ``2026-11-20``. (templated)
    :param source_rows: an aggregate over the stage table that is 0 if the source had nothing for the partition.
    :param allow_empty: replace the partition even then. Without it a partition without source rows is skipped if there
        is nothing in the target, and fails the task, leaving the target as it is, if there is. (templated)
    :param warnings: names and ``SELECT`` statements of one number each, run over ``{{ stage_table }}`` before the swap;
        a number other than 0 is logged as a warning. (templated)
    :param left_out: one ``SELECT`` over ``{{ stage_table }}``, or the name of a ``.sql`` file: what the SQL itself left
        out, a row per cause: its name, how much, and examples (an array of texts). (templated)
    :param row_checks: conditions, by name, that each row of the partition must fulfil; NULL does not. (templated)
    :param checks: conditions, by name, on aggregates over the partition's remaining rows. (templated)
    :param report_table: a table with the columns of ``maxy_partition_report``, which gets what each run left out.
    """

    template_fields = (
        *ClickHouseTemplateOperator.template_fields,
        "partition",
        "allow_empty",
        "warnings",
        "left_out",
        "row_checks",
        "checks",
    )

    def __init__(
        self,
        *,
        table: str,
        partition: str,
        source_rows: str = "count()",
        allow_empty: bool | str = False,
        warnings: Mapping[str, str] | None = None,
        left_out: str | None = None,
        row_checks: Mapping[str, str] | None = None,
        checks: Mapping[str, str] | None = None,
        report_table: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = checked_table_name(table)
        self.partition = partition
        self.source_rows = source_rows
        self.allow_empty = allow_empty
        self.warnings = dict(warnings or {})
        self.left_out = left_out
        self.row_checks = dict(row_checks or {})
        self.checks = dict(checks or {})
        self.report_table = checked_table_name(report_table) if report_table else None

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Render with ``stage_table`` added to the context."""
        super().render_template_fields({**context, "stage_table": self.stage_table(context)}, jinja_env)

    def stage_table(self, context: Context) -> str:
        """Return the name of this try's stage table."""
        return f"{self._stage_prefix(context)}{context['ti'].try_number}"

    def execute(self, context: Context) -> dict[str, Any]:
        """Fill the stage table and swap it in.

        :raises AirflowSkipException: if the source has nothing and the partition holds nothing.
        :raises AirflowFailException: if the source has nothing, but the partition holds rows, without ``allow_empty``;
            or if a check of the partition fails, or every row of it.
        """
        with self.hook().session() as session, self._stage(session, context) as stage:
            self.run_sql(session, context)
            if not as_bool(self.allow_empty, "allow_empty"):
                self._require_source_rows(session, context, stage)
            warnings = self._count_warnings(session, context)
            warnings |= self._check_stage(session, context, stage)
            rows = self._swap(session, context, stage)
        self.log.info("%s: partition %s now holds %d rows", self.table, self.partition, rows)
        return {**self.totals(), "partition": self.partition, "rows": rows, "warnings": warnings}

    def _check_stage(self, session: ClickHouseSession, context: Context, stage: str) -> dict[str, int]:
        """Check what was computed, before readers see it.

        :return: how much was left out, by cause.
        """
        run = partial(self.run_statement, session, context)
        checks = StageChecks(
            run,
            table=self.table,
            stage=stage,
            partition=self.partition,
            partition_id=self._look_at_partition(session, context, stage)[0],
        )
        left_out = checks.read_left_out(self.left_out, self._parameters) if self.left_out else []
        left_out += checks.leave_out_rows(self.row_checks)
        if self.report_table is not None:
            write_report(run, self.report_table, table=self.table, partition=self.partition, left_out=left_out)
        checks.check_partition(self.checks)
        return {cause.cause: cause.rows for cause in left_out}

    def _swap(self, session: ClickHouseSession, context: Context, stage: str) -> int:
        """Put the stage table's partition in the place of the target's.

        :return: the partition's rows.
        """
        rows = self._rows_in_partition(session, context, stage)
        # ClickHouse refuses to replace a partition by nothing.
        action = f"REPLACE PARTITION %(partition)s FROM {stage}" if rows else "DROP PARTITION %(partition)s"
        self.run_statement(
            session,
            context,
            f"ALTER TABLE {self.table} {action}",
            place=f"swap into {self.table}",
            parameters={"partition": self.partition},
        )
        return rows

    @contextmanager
    def _stage(self, session: ClickHouseSession, context: Context) -> Iterator[str]:
        stage = self.stage_table(context)
        self._drop_left_behind(session, context)
        self.run_statement(session, context, f"CREATE TABLE {stage} AS {self.table}", place=f"create {stage}")
        try:
            yield stage
        finally:
            try:
                self.run_statement(session, context, f"DROP TABLE IF EXISTS {stage} SYNC", place=f"drop {stage}")
            except AirflowException as error:
                # The task's own error, if there is one, matters more; the next try drops the table.
                self.log.warning("Stage table left behind: %s", error)

    def _drop_left_behind(self, session: ClickHouseSession, context: Context) -> None:
        """Drop the stage tables of this task instance's earlier tries, and anybody's that are a day old."""
        database, _, table = self.table.rpartition(".")
        found = self.run_statement(
            session,
            context,
            """
            SELECT name FROM system.tables
            WHERE database = if(%(database)s = '', currentDatabase(), %(database)s)
              AND (startsWith(name, %(own)s)
                   OR (startsWith(name, %(any)s) AND metadata_modification_time < now() - INTERVAL 1 DAY))
            """,
            place="look for stage tables left behind",
            parameters={
                "database": database,
                "own": self._stage_prefix(context).rpartition(".")[2],
                "any": f"{table}__stage_",
            },
        )
        for (name,) in found.rows:
            left = checked_table_name(f"{database}.{name}" if database else name)
            self.log.warning("Dropping stage table %s, left behind by a try that was cut off", left)
            self.run_statement(session, context, f"DROP TABLE IF EXISTS {left} SYNC", place=f"drop {left}")

    def _require_source_rows(self, session: ClickHouseSession, context: Context, stage: str) -> None:
        found = self.run_statement(
            session, context, f"SELECT {self.source_rows} FROM {stage}", place="count the source's rows"
        )
        if found.scalar:
            return
        existing = self._rows_in_partition(session, context, self.table)
        if existing:
            raise AirflowFailException(
                f"{self.table}: the source has no rows for {self.partition}, but the partition holds {existing} rows "
                "already; they are left as they are. If the day really is empty, run again with allow_empty."
            )
        raise AirflowSkipException(
            f"{self.table}: the source has no rows for {self.partition} and nothing is written yet: nothing to do"
        )

    def _rows_in_partition(self, session: ClickHouseSession, context: Context, name: str) -> int:
        return self._look_at_partition(session, context, name)[1]

    def _look_at_partition(self, session: ClickHouseSession, context: Context, name: str) -> tuple[str, int]:
        """Return the id of the partition in a table, empty if it has no row there, and how many rows it has."""
        database, _, table = name.rpartition(".")
        found = self.run_statement(
            session,
            context,
            """
            SELECT any(partition_id), sum(rows) FROM system.parts
            WHERE active AND table = %(table)s AND partition = %(partition)s
              AND database = if(%(database)s = '', currentDatabase(), %(database)s)
            """,
            place=f"count {name}'s rows",
            parameters={"database": database, "table": table, "partition": self.partition},
        )
        ((partition_id, rows),) = found.rows
        return str(partition_id), int(rows)

    def _count_warnings(self, session: ClickHouseSession, context: Context) -> dict[str, int]:
        counts = {}
        for name, statement in self.warnings.items():
            found = self.run_statement(
                session, context, statement, place=f"warning {name!r}", parameters=self._parameters
            )
            counts[name] = int(found.scalar)
            if counts[name]:
                self.log.warning("%s: %d", name, counts[name])
        return counts

    def _stage_prefix(self, context: Context) -> str:
        """Name the task instance in a form that fits in a table's name; the try's number follows."""
        ti = context["ti"]
        identity = "\0".join((ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index)))
        return f"{self.table}__stage_{hashlib.sha256(identity.encode()).hexdigest()[:16]}_"
