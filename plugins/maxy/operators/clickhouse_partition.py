"""Compute partitions of a ClickHouse table and swap each in as a whole."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from maxy._parsing import as_bool
from maxy.operators._identifiers import IN_ITS_DATABASE, checked_table_name, table_parameters
from maxy.operators._partitions import Partition, read_partition_key, resolve, rows_by_partition
from maxy.operators._stage_checks import StageChecks, read_left_out, write_report
from maxy.operators._swap_lock import swap_lock
from maxy.operators.clickhouse import ClickHouseTemplateOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date
    from decimal import Decimal
    from typing import Unpack
    from uuid import UUID

    import jinja2
    from airflow.sdk import Context

    from maxy.hooks.clickhouse import ClickHouseSession
    from maxy.operators._arguments import TemplateArguments
    from maxy.operators._partitions import PartitionKey, RunStatement

    PartitionColumn = str | int | bool | date | Decimal | UUID
    PartitionValue = PartitionColumn | tuple[PartitionColumn, ...]

# How many partitions are named in an error.
_NAMED_PARTITIONS = 10


class ClickHouseReplacePartitionOperator(ClickHouseTemplateOperator):
    """Fill a stage table by SQL, then put it in the place of partitions of the target, each in one step.

    Readers see a partition as it was or as it is, never a part of it. A repeated run leaves the same rows and no
    others. No row passes through the worker. Concurrent runs each have a stage table of their own and swap one after
    the other; the last one wins.

    Which partition a value means is decided by ClickHouse, once and before anything is computed; a value that is none
    of the key's type is refused then, and so is a table that has no partitions to swap. Rows that the SQL puts
    elsewhere are an error and never a reason to empty the partition that was named.

    The stage table belongs to one try of one task instance, is made like the target (``CREATE TABLE ... AS``) and is
    dropped at the end. What a killed try left behind is dropped by the next try of the same task instance, or by any
    later run once it is a day old. That also fences a try which is still alive somewhere: it cannot swap any more.

    Before the swap the stage table is checked. A row that fails one of ``row_checks`` is left out, named and counted,
    and the others are published. If ``checks`` find a partition as a whole wrong, the target stays as it is and the
    task fails without retries, since another try would find the same.

    Returns (XCom) what :class:`ClickHouseTemplateOperator` returns, and ``partition`` (as ClickHouse prints it; of
    several a list), ``rows`` (now in them), ``other_rows`` (that the SQL put into other partitions and were left
    behind) and ``warnings`` (the counts of the warnings below and of what was left out, by name).

    :param sql: statements that fill ``{{ stage_table }}``, usually one ``INSERT ... SELECT``. (templated; besides
        Airflow's own variables the template has ``stage_table``)
    :param table: the target: a partitioned table of the MergeTree family.
    :param partition: the partition's value: a date, time, number or text, as the native type or as text; for a key of
        several columns a tuple, or its text ``('2026-11-20', 'kr')``. Dates and times in any form of ISO 8601; times
        without a zone are in the column's zone, or else in ``timezone``. A list names several partitions: then each
        of them is swapped by itself, after all of them are computed and checked. (templated)
    :param other_partitions: what becomes of rows that the SQL puts into partitions that are not named: ``error`` (the
        task fails and nothing is swapped), ``drop`` (they are counted, logged and left behind), or a list of the
        partitions in which they may be, and are left behind. (templated)
    :param source_rows: an aggregate over the stage table that is 0 if the source had nothing for the run.
    :param allow_empty: empty a partition for which there is no row. Without it such a partition is left alone if it is
        empty already (the task is skipped if none is left), and fails the task, leaving the target as it is, if it is
        not. (templated)
    :param warnings: names and ``SELECT`` statements of one number each, run over ``{{ stage_table }}`` before the swap;
        a number other than 0 is logged as a warning. (templated)
    :param left_out: one ``SELECT`` over ``{{ stage_table }}``, or the name of a ``.sql`` file: what the SQL itself left
        out, a row per cause: its name, how much, and examples (an array of texts). (templated)
    :param row_checks: conditions, by name, that each row of a partition must fulfil; NULL does not. (templated)
    :param checks: conditions, by name, on aggregates over each partition's remaining rows. (templated)
    :param report_table: a table with the columns of ``maxy_partition_report``, which gets what each run left out.
    """

    template_fields = (
        *ClickHouseTemplateOperator.template_fields,
        "partition",
        "other_partitions",
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
        partition: PartitionValue | Sequence[PartitionValue],
        other_partitions: str | Sequence[PartitionValue] = "error",
        source_rows: str = "count()",
        allow_empty: bool | str = False,
        warnings: Mapping[str, str] | None = None,
        left_out: str | None = None,
        row_checks: Mapping[str, str] | None = None,
        checks: Mapping[str, str] | None = None,
        report_table: str | None = None,
        **kwargs: Unpack[TemplateArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.table = checked_table_name(table)
        self.partition = partition
        self.other_partitions = other_partitions
        self.source_rows = source_rows
        self.allow_empty = allow_empty
        self.warnings = dict(warnings or {})
        self.left_out = left_out
        self.row_checks = dict(row_checks or {})
        self.checks = dict(checks or {})
        self.report_table = checked_table_name(report_table) if report_table else None

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """Render with ``stage_table`` added to the context.

        Here and not in ``render_template_fields``, for this is where mapped tasks come by as well.
        """
        with_stage = {**context, "stage_table": self.stage_table(context)}
        super()._do_render_template_fields(parent, template_fields, with_stage, jinja_env, seen_oids)

    def stage_table(self, context: Context) -> str:
        """Return the name of this try's stage table."""
        return f"{self._stage_prefix(context)}{context['ti'].try_number}"

    def execute(self, context: Context) -> dict[str, Any]:
        """Fill the stage table and swap it in.

        :raises AirflowSkipException: if the source has nothing and the partitions hold nothing.
        :raises AirflowFailException: if the table or a partition's value does not fit, before anything is computed; if
            rows are in partitions that were not named; if the source has nothing, but a partition holds rows, without
            ``allow_empty``; or if a check of a partition fails, or every row of it.
        """
        allow_empty = as_bool(self.allow_empty, "allow_empty")
        with self.hook().session() as session:
            run = partial(self.run_statement, session, context)
            key = read_partition_key(run, self.table)
            wanted = self._resolve(run, key, self.partition if isinstance(self.partition, list) else [self.partition])
            others = self._others(run, key)
            with self._stage(session, context) as stage:
                self.run_sql(session, context, keep_rows=False)
                in_target = rows_by_partition(run, self.table)
                other_rows, unexpected = self._look_at_others(run, stage, wanted, others)
                if not allow_empty:
                    self._require_source_rows(run, stage, wanted, in_target)
                warnings = self._count_warnings(session, context)
                warnings |= self._check_stage(run, stage, wanted)
                in_stage = rows_by_partition(run, stage)
                emptied = {one: in_target[one] for one in wanted if one not in in_stage and one in in_target}
                self._refuse_to_empty(emptied, allow_empty=allow_empty, unexpected=unexpected)
                with swap_lock(run, self.table, holder=stage, own=self._stage_prefix(context)):
                    for one in wanted:
                        # One that was empty before stays as it is: another run may have filled it since.
                        if one in in_stage or one in emptied:
                            self._swap(run, stage, one, is_empty=one in emptied)
        rows = {one: in_stage.get(one, 0) for one in wanted}
        for one, count in rows.items():
            self.log.info("%s: partition %s now holds %d rows", self.table, one.value, count)
        values = [one.value for one in wanted]
        return {
            **self.totals(),
            "partition": values if isinstance(self.partition, list) else values[0],
            "rows": sum(rows.values()),
            "other_rows": other_rows,
            "warnings": warnings,
        }

    def _resolve(self, run: RunStatement, key: PartitionKey, values: Sequence[Any]) -> list[Partition]:
        if not values:
            raise AirflowFailException(f"{self.table}: the list of partitions is empty")
        return resolve(run, key, values, timezone=self._settings["session_timezone"])

    def _others(self, run: RunStatement, key: PartitionKey) -> list[Partition] | None:
        """Return the partitions in which further rows may be; None for all.

        :raises AirflowFailException: for another word than the two that are known.
        """
        if self.other_partitions == "drop":
            return None
        if self.other_partitions == "error":
            return []
        if isinstance(self.other_partitions, str):
            raise AirflowFailException(
                f"other_partitions is {self.other_partitions!r}: expected 'error', 'drop' or a list of partitions"
            )
        return self._resolve(run, key, self.other_partitions)

    def _look_at_others(
        self, run: RunStatement, stage: str, wanted: Sequence[Partition], others: Sequence[Partition] | None
    ) -> tuple[int, dict[Partition, int]]:
        """Count the rows that the SQL put into partitions that are not to be swapped.

        :return: how many they are, and those of them that are in partitions which nobody has named.
        :raises AirflowFailException: if there are any of the latter, and they are not to be dropped.
        """
        found = {one: rows for one, rows in rows_by_partition(run, stage).items() if one not in wanted}
        unexpected = {one: rows for one, rows in found.items() if one not in (others or ())}
        if not unexpected:
            return sum(found.values()), {}
        told = (
            f"{sum(unexpected.values())} rows are in partitions that are not named: {_name_partitions(unexpected)};"
            f" named: {', '.join(one.value for one in wanted)}"
        )
        if others is not None:
            raise AirflowFailException(
                f"{self.table}: {told}. Nothing is swapped. Correct the SQL or the partition, or say"
                " other_partitions='drop' if they are to be left out"
            )
        self.log.warning("%s: %s; they are left out", self.table, told)
        return sum(found.values()), unexpected

    def _check_stage(self, run: RunStatement, stage: str, wanted: Sequence[Partition]) -> dict[str, int]:
        """Check what was computed, before readers see it.

        :return: how much was left out, by cause.
        """
        counts: dict[str, int] = {}
        checks = [StageChecks(run, table=self.table, stage=stage, partition=one) for one in wanted]
        # What the SQL left out belongs to no partition of several; it is told with the first.
        left_out = read_left_out(run, self.left_out, self._parameters) if self.left_out else []
        for one, check in zip(wanted, checks, strict=True):
            left_out += check.leave_out_rows(self.row_checks)
            if self.report_table is not None:
                write_report(run, self.report_table, table=self.table, partition=one.value, left_out=left_out)
            for cause in left_out:
                counts[cause.cause] = counts.get(cause.cause, 0) + cause.rows
            left_out = []
        for check in checks:
            check.check_partition(self.checks)
        return counts

    def _swap(self, run: RunStatement, stage: str, partition: Partition, *, is_empty: bool) -> None:
        """Put the stage table's partition in the place of the target's."""
        # ClickHouse refuses to replace a partition by nothing.
        action = (
            f"DROP PARTITION ID '{partition.id}'" if is_empty else f"REPLACE PARTITION ID '{partition.id}' FROM {stage}"
        )
        run(f"ALTER TABLE {self.table} {action}", place=f"swap partition {partition.value} into {self.table}")

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
        target = table_parameters(self.table)
        found = self.run_statement(
            session,
            context,
            f"""
            SELECT name FROM system.tables
            WHERE {IN_ITS_DATABASE}
              AND (startsWith(name, %(own)s)
                   OR (startsWith(name, %(any)s) AND metadata_modification_time < now() - INTERVAL 1 DAY))
            """,
            place="look for stage tables left behind",
            parameters={
                "database": target["database"],
                "own": table_parameters(self._stage_prefix(context))["table"],
                "any": f"{target['table']}__stage_",
            },
        )
        for (name,) in found.rows:
            left = checked_table_name(f"{target['database']}.{name}".lstrip("."))
            self.log.warning("Dropping stage table %s, left behind by a try that was cut off", left)
            self.run_statement(session, context, f"DROP TABLE IF EXISTS {left} SYNC", place=f"drop {left}")

    def _require_source_rows(
        self, run: RunStatement, stage: str, wanted: Sequence[Partition], in_target: Mapping[Partition, int]
    ) -> None:
        found = run(f"SELECT {self.source_rows} FROM {stage}", place="count the source's rows")
        if found.scalar:
            return
        values = ", ".join(one.value for one in wanted)
        existing = sum(in_target.get(one, 0) for one in wanted)
        if existing:
            raise AirflowFailException(
                f"{self.table}: the source has no rows for {values}, but the partition holds {existing} rows "
                "already; they are left as they are. If the day really is empty, run again with allow_empty."
            )
        raise AirflowSkipException(
            f"{self.table}: the source has no rows for {values} and nothing is written yet: nothing to do"
        )

    def _refuse_to_empty(
        self, emptied: Mapping[Partition, int], *, allow_empty: bool, unexpected: Mapping[Partition, int]
    ) -> None:
        """Refuse to empty partitions that have rows, unless it was asked for and no row is elsewhere.

        :raises AirflowFailException: naming the partitions.
        """
        if not emptied or (allow_empty and not unexpected):
            return
        cause = (
            f"the SQL put its rows into others ({_name_partitions(unexpected)})"
            if unexpected
            else "for a partition that really is empty, run again with allow_empty"
        )
        raise AirflowFailException(
            f"{self.table}: there is no row for {_name_partitions(emptied)}, which are left as they are: {cause}"
        )

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


def _name_partitions(rows: Mapping[Partition, int]) -> str:
    """Name some partitions with their numbers of rows."""
    named = [f"{one.value} ({count} rows)" for one, count in list(rows.items())[:_NAMED_PARTITIONS]]
    return ", ".join([*named, *(["..."] if len(rows) > _NAMED_PARTITIONS else [])])
