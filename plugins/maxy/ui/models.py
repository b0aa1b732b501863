"""What the API's routes return; the OpenAPI document is made from these.

Every instant is UTC in ISO 8601 with ``Z``; every day is a date in the statistics time zone.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from maxy.realtime.device import Device
from maxy.realtime.health import LoopState  # noqa: TC001 - pydantic reads the annotations
from maxy.realtime.page import Page

#: The figures that the device and page loops keep, and the daily job: names of the table's columns.
DEVICE_METRICS = tuple(Device.metrics)
PAGE_METRICS = tuple(Page.metrics)
METRICS = (*DEVICE_METRICS, *PAGE_METRICS)

#: By metric; None where it is not known. Counts are whole; averages are milliseconds.
Figures = dict[str, float | int | None]


class ScatterName(StrEnum):
    """The loops that keep points."""

    LOADING_TIME = "loading_time"
    RESPONSE_TIME = "response_time"


class Alive(BaseModel):
    """The process answers."""

    alive: bool = True


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str


class Key(BaseModel):
    """What figures are kept for."""

    package_nm: str
    server_type: int
    os_type: str


class Keys(BaseModel):
    """All keys, sorted."""

    at: str
    timezone: str = Field(description="the statistics time zone, an IANA name")
    today: str = Field(description="the day that it is in that zone")
    source: str = Field(description="valkey: the keys of the live loops; clickhouse: those of the last 30 days")
    is_complete: bool = Field(description="false where there are more than can be listed")
    keys: list[Key]


class LoopFigures(BaseModel):
    """What one loop has written of a key."""

    updated_at: str | None = Field(description="when it was last written; it is written again only when it has changed")
    figures: Figures | None = Field(description="null where Valkey has nothing of the key")


class Today(Key):
    """Today's figures of a key, as they stand in Valkey."""

    at: str
    device: LoopFigures
    page: LoopFigures


class Slot(BaseModel):
    """Rows of maxy_app_total_log that came in."""

    start: str
    end: str
    rows: int


class LogRate(BaseModel):
    """The log rate of the last ten minutes, oldest first; times without rows of the table are not there."""

    at: str
    slots: list[Slot]


class Points(BaseModel):
    """Points of a scatter, column by column."""

    id: list[int] = Field(description="tells the points of one answer, or of one stream, apart")
    reg_dt_ms: list[int] = Field(description="when the row came in, milliseconds since 1970")
    value_ms: list[float]
    os_type: list[str | None]
    page: list[str | None] = Field(description="page_id, or req_url where there is none")
    device_model: list[str | None]
    app_ver: list[str | None]
    com_type: list[str | None]


class Scatter(BaseModel):
    """The points of the last minutes, as they stand in Valkey."""

    at: str
    loop: ScatterName
    points: Points
    meta: dict[str, str] | None = Field(
        description="the loop's own notes on the key: last_saved_at, last_reg_dt, counts"
    )


class DayState(StrEnum):
    """What the table has of a day."""

    PRESENT = "present"
    #: The day is computed, and the key has no row in it.
    NO_ROW = "no_row"
    #: The table has no row at all of the day.
    MISSING = "missing"
    #: Today or later.
    NOT_DUE = "not_due"


class HistoryDay(BaseModel):
    """One day of a key."""

    stat_date: str
    start: str = Field(description="the day's first instant")
    end: str = Field(description="the next day's first instant")
    state: DayState
    figures: Figures | None
    week_before: Figures | None = Field(description="the figures seven days before")
    updated_at: str | None


class History(BaseModel):
    """Days of a key, oldest first, one entry per calendar day."""

    timezone: str
    first: str
    last: str
    dag_id: str = Field(description="the DAG that computes the days")
    days: list[HistoryDay]


class Server(BaseModel):
    """Whether a server answers."""

    is_reachable: bool
    error: str | None = None


class ClickHouseServer(Server):
    """Whether ClickHouse answers."""

    version: str | None = None


class LoopReport(BaseModel):
    """How a loop fares; its numbers are those of its status in Valkey (docs/how-to-live-loops.md)."""

    name: str
    dag_id: str
    period_seconds: float
    state: LoopState
    problem: str | None = Field(description="what is wrong, an English sentence")
    holder: str | None = None
    host: str | None = None
    last_tick_at: str | None = None
    last_success_at: str | None = None
    lag_seconds: float | None = None
    duration_seconds: float | None = None
    rows: int | None = None
    keys: int | None = None
    left_out: int | None = None
    ticks: int | None = None
    skipped: int | None = None
    failures: int | None = None
    consecutive_failures: int | None = None
    last_error: str | None = None


class Loops(BaseModel):
    """All enabled loops."""

    at: str
    error: str | None = Field(description="why Valkey could not be asked")
    loops: list[LoopReport]


class DailyDay(BaseModel):
    """What the table has of a day."""

    stat_date: str
    state: DayState
    keys: int
    updated_at: str | None


class Daily(BaseModel):
    """The daily job's last days, newest first."""

    dag_id: str
    days: list[DailyDay] | None
    error: str | None = None


class QueryCost(BaseModel):
    """What the statements of a loop or a task cost ClickHouse in the last hour."""

    name: str
    runs: int
    failures: int
    seconds: float
    cpu_seconds: float
    read_rows: int
    read_bytes: int
    memory_bytes: int


class Queries(BaseModel):
    """The dearest first."""

    rows: list[QueryCost] | None
    error: str | None = None


class Health(BaseModel):
    """How everything fares. What could not be asked says why."""

    at: str
    timezone: str | None = Field(description="the statistics time zone; null where the settings cannot be read")
    error: str | None = Field(description="why the package's settings cannot be read; there are no loops then")
    valkey: Server
    clickhouse: ClickHouseServer
    loops: list[LoopReport]
    daily: Daily
    queries: Queries
