"""Shapes of the API's answers that all families share; the OpenAPI document is made from these.

Every instant is UTC in ISO 8601 with ``Z``.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from maxy.loops.health import LoopState  # noqa: TC001 - pydantic reads the annotations


class Alive(BaseModel):
    """The process answers."""

    alive: bool = Field(default=True, description="always true")


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str = Field(description="an English sentence")


class Server(BaseModel):
    """Whether a server answers."""

    is_reachable: bool = Field(description="whether it answers")
    error: str | None = Field(default=None, description="why it does not, in its own words")
    clock_skew_seconds: float | None = Field(
        default=None,
        description="by how much its clock is ahead of the asking process's, beyond the time the question took",
    )


class ValkeyServer(Server):
    """Whether Valkey answers, and can keep what it is given."""

    can_persist: bool | None = Field(
        default=None,
        description="false where it cannot write its files, and refuses writes; null where that is not known",
    )


class DiskSpace(BaseModel):
    """A disk of ClickHouse."""

    name: str = Field(description="ClickHouse's name of the disk")
    free_bytes: int = Field(description="what it may still take")
    total_bytes: int = Field(description="its size")


class ClickHouseServer(Server):
    """Whether ClickHouse answers, and how much room it has."""

    version: str | None = Field(default=None, description="of the server")
    disks: list[DiskSpace] = Field(default=[], description="those that have a size")


class RowsAre(StrEnum):
    """What the rows of a loop's tick are."""

    NEW = "new"
    READ = "read"


class LoopReport(BaseModel):
    """The status of a loop; its numbers are those of its status in Valkey (docs/how-to-live-loops.md)."""

    name: str = Field(description="the loop's")
    dag_id: str = Field(description="the DAG that runs it")
    period_seconds: float = Field(description="from one tick to the next")
    state: LoopState = Field(description="ok, failing, stale, late, blocking, clock or never")
    problem: str | None = Field(description="what is wrong, an English sentence")
    holder: str | None = Field(
        default=None, description="fence number and beginning of the token of the copy that ticks"
    )
    host: str | None = Field(default=None, description="where that copy runs")
    last_tick_at: str | None = Field(default=None, description="start of the newest tick, good or not")
    last_success_at: str | None = Field(default=None, description="start of the newest good tick")
    lag_seconds: float | None = Field(default=None, description="from when the newest good tick was due to its end")
    duration_seconds: float | None = Field(default=None, description="of the newest tick")
    rows: int | None = Field(default=None, description="of the newest good tick: rows that it handled")
    rows_are: RowsAre | None = Field(
        default=None, description="what the rows are: new ones, those read again for today's figures, or unknown"
    )
    rows_per_second: float | None = Field(
        default=None, description="new rows per second; null where the rows are not new ones"
    )
    keys: int | None = Field(default=None, description="of the newest good tick: keys that it wrote")
    left_out: int | None = Field(
        default=None, description="of the newest good tick: rows without package, server type or system"
    )
    out_of_range: dict[str, int] | None = Field(
        default=None, description="values outside their metric's range that were left out, by metric"
    )
    replaced_keys: int | None = Field(
        default=None, description="keys in Valkey of a wrong type that were replaced, since the copy began"
    )
    blocked_seconds: float | None = Field(
        default=None, description="for which a tick blocked the thread of all loops, the worst of the last minute's"
    )
    held_up_by: str | None = Field(
        default=None, description="the loop that blocked the thread while the newest good tick was late"
    )
    held_up_seconds: float | None = Field(
        default=None, description="for which other loops blocked the thread, from when that tick was due to its end"
    )
    ticks: int | None = Field(default=None, description="good ticks of this copy")
    skipped: int | None = Field(
        default=None, description="ticks that were left out because the one before took too long"
    )
    failures: int | None = Field(default=None, description="failed ticks of this copy")
    consecutive_failures: int | None = Field(default=None, description="failed ticks since the last good one")
    last_error: str | None = Field(
        default=None, description="of the newest failure, without addresses of servers: those are in the task's log"
    )


class Loops(BaseModel):
    """All enabled loops."""

    at: str = Field(description="when the answer was made")
    error: str | None = Field(description="why Valkey could not be asked")
    loops: list[LoopReport]


class QueryCost(BaseModel):
    """What the statements of a loop or a task cost ClickHouse in the last hour."""

    name: str = Field(description="realtime_<loop>, <DAG>.<task>, or pages")
    runs: int = Field(description="statements that ended well")
    failures: int = Field(description="statements that failed")
    seconds: float = Field(description="their durations' sum")
    cpu_seconds: float = Field(description="processor time")
    read_rows: int = Field(description="rows read")
    read_bytes: int = Field(description="bytes read")
    memory_bytes: int = Field(description="the most memory that one of them took")


class Queries(BaseModel):
    """The dearest first."""

    rows: list[QueryCost] | None = Field(description="null where ClickHouse cannot be asked")
    error: str | None = Field(default=None, description="why it cannot be asked")
