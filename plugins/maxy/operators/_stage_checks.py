"""What is checked in a stage table before its partition is swapped in, and what is kept of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maxy.operators._partitions import Partition, RunStatement

_log = logging.getLogger(__name__)

# Rows that are named with all their values, and how much of each is shown.
_NAMED_ROWS = 10
_NAMED_CHARACTERS = 600


@dataclass(frozen=True)
class LeftOut:
    """What was left out of a partition for one cause.

    :param cause: its name.
    :param rows: how much it was.
    :param examples: the worst of it, for people.
    """

    cause: str
    rows: int
    examples: Sequence[str] = field(default_factory=list)


class StageChecks:
    """Checks one partition of a stage table.

    :param run: runs a statement.
    :param table: the target's name, for messages.
    :param stage: the stage table.
    :param partition: the partition.
    """

    def __init__(self, run: RunStatement, *, table: str, stage: str, partition: Partition) -> None:
        self._run = run
        self._place = f"{table}, partition {partition.value}"
        self._stage = stage
        # As a literal and no parameter: the checks beside it may have a % that stands for itself.
        self._partition_id = f"'{partition.id}'"

    def leave_out_rows(self, checks: Mapping[str, str]) -> list[LeftOut]:
        """Remove the rows that fail a check, and name them.

        :param checks: conditions on single rows, by name; one that is NULL is not fulfilled.
        :raises AirflowFailException: if no row would be left: then it is not the rows that are wrong.
        """
        if not checks:
            return []
        passes = {name: f"ifNull(toBool({condition}), 0)" for name, condition in checks.items()}
        passes_all = " AND ".join(passes.values())
        # All in one look: as a rule none fails.
        *failing, passing = self._count([*(f"NOT {holds}" for holds in passes.values()), passes_all])
        causes = [self._failing(name, passes[name], rows) for name, rows in zip(checks, failing, strict=True)]
        failed = [cause for cause in causes if cause.rows]
        if not failed:
            return causes
        if not passing:
            named = "; ".join(f"{cause.cause}: {cause.rows}, such as {cause.examples[0]}" for cause in failed)
            raise AirflowFailException(f"{self._place}: no row passes the checks, it is left as it is: {named}")
        self._run(
            f"ALTER TABLE {self._stage} DELETE IN PARTITION ID {self._partition_id} WHERE NOT ({passes_all})"
            " SETTINGS mutations_sync = 2",
            place="leave out the rows that fail a check",
        )
        return causes

    def check_partition(self, checks: Mapping[str, str]) -> None:
        """Check the partition as a whole.

        :param checks: conditions on aggregates over its rows, by name; one that is NULL is not fulfilled.
        :raises AirflowFailException: naming the checks that fail.
        """
        if not checks:
            return
        columns = ", ".join(f"ifNull(toBool({condition}), 0)" for condition in checks.values())
        found = self._run(
            f"SELECT {columns} FROM {self._stage} WHERE _partition_id = {self._partition_id}",
            place="checks of the partition",
        )
        (results,) = found.rows
        failed = [f"{name}: {check}" for (name, check), holds in zip(checks.items(), results, strict=True) if not holds]
        if failed:
            raise AirflowFailException(f"{self._place}: a check fails, it is left as it is: {'; '.join(failed)}")

    def _failing(self, name: str, holds: str, rows: int) -> LeftOut:
        if not rows:
            return LeftOut(f"rows that fail check {name}", 0)
        found = self._run(
            f"SELECT * FROM {self._stage}"
            f" WHERE _partition_id = {self._partition_id} AND NOT {holds} LIMIT {_NAMED_ROWS}",
            place=f"row check {name!r}",
        )
        cause = LeftOut(f"rows that fail check {name}", rows, [_name_row(found.names, row) for row in found.rows])
        _log_left_out(cause)
        return cause

    def _count(self, conditions: Sequence[str]) -> list[int]:
        columns = ", ".join(f"countIf({condition})" for condition in conditions)
        found = self._run(
            f"SELECT {columns} FROM {self._stage} WHERE _partition_id = {self._partition_id}",
            place="count the rows that fail a check",
        )
        (counts,) = found.rows
        return list(map(int, counts))


def read_left_out(run: RunStatement, select: str, parameters: Mapping[str, Any] | None) -> list[LeftOut]:
    """Return what the SQL that filled a stage table left out: rows of cause, number and examples."""
    found = run(select, place="what was left out", parameters=parameters)
    causes = [LeftOut(str(cause), int(rows), list(map(str, examples))) for cause, rows, examples in found.rows]
    for cause in causes:
        _log_left_out(cause)
    return causes


def write_report(run: RunStatement, report_table: str, *, table: str, partition: str, left_out: list[LeftOut]) -> None:
    """Keep what a run left out; also if that is nothing, for it takes the place of what an earlier run left out.

    :param report_table: has the columns of ``maxy_partition_report``.
    """
    causes = [(cause.cause, cause.rows, list(cause.examples)) for cause in left_out] or [("", 0, [])]
    run(
        f"INSERT INTO {report_table} (table_name, partition, cause, rows, examples, reported_at)"
        " WITH arrayJoin(CAST(%(causes)s, 'Array(Tuple(String, UInt64, Array(String)))')) AS one"
        " SELECT %(table_name)s, %(partition)s, one.1, one.2, one.3, now64(3, 'UTC')",
        place=f"report to {report_table}",
        parameters={"causes": causes, "table_name": table, "partition": partition},
    )


def _log_left_out(cause: LeftOut) -> None:
    if cause.rows:
        _log.warning("%s: %d, such as %s", cause.cause, cause.rows, "; ".join(map(repr, cause.examples)))


def _name_row(names: Sequence[str], row: Sequence[Any]) -> str:
    named = ", ".join(f"{name}={value!s}" for name, value in zip(names, row, strict=True))
    return named if len(named) <= _NAMED_CHARACTERS else f"{named[:_NAMED_CHARACTERS]}…"
