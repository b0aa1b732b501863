"""What the routes of the statistics return; the OpenAPI document is made from these.

Every instant is UTC in ISO 8601 with ``Z``; every day is a date in the statistics time zone.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from maxy.statistics.day_checks import ProblemKind  # noqa: TC001 - pydantic reads the annotations
from maxy.statistics.live.device import Device
from maxy.statistics.live.page import Page
from maxy.web.models import (  # noqa: TC001 - pydantic reads the annotations
    ClickHouseServer,
    LoopReport,
    Queries,
    ValkeyServer,
)

#: The figures that the device and page loops keep, and the daily job: names of the table's columns.
DEVICE_METRICS = tuple(Device.metrics)
PAGE_METRICS = tuple(Page.metrics)
METRICS = (*DEVICE_METRICS, *PAGE_METRICS)
#: Means in milliseconds. The table and Valkey keep 0 where nothing was measured.
AVERAGES = tuple(metric for metric in METRICS if metric.endswith("_avg"))

#: What ``wrong_key`` says.
WRONG_KEY = "the key in Valkey, if it has another type than the loop's: it is absent until the loop writes it again"

#: By metric; None where it is not known. Counts are whole; averages are milliseconds, None where nothing was measured.
Figures = dict[str, float | int | None]


class ScatterName(StrEnum):
    """The loops that keep points."""

    LOADING_TIME = "loading_time"
    RESPONSE_TIME = "response_time"


class Key(BaseModel):
    """What figures are kept for."""

    package_nm: str = Field(description="an application")
    server_type: int = Field(description="a server type, 0 to 2^32 - 1")
    os_type: str = Field(description="an operating system")


class Keys(BaseModel):
    """All keys, sorted."""

    at: str = Field(description="when the answer was made")
    timezone: str = Field(description="the statistics time zone, an IANA name")
    today: str = Field(description="the day that it is in that zone")
    source: str = Field(description="valkey: the keys of the live loops; clickhouse: those of the last 30 days")
    is_complete: bool = Field(description="false where there are more than can be listed")
    busiest: Key | None = Field(
        default=None,
        description="the busiest key of the busiest package: by page views, then devices, of the newest seven computed "
        "days, else of today; what a page shows until somebody chooses",
    )
    keys: list[Key]


class LoopFigures(BaseModel):
    """What one loop has written of a key."""

    updated_at: str | None = Field(description="when it was last written; it is written again only when it has changed")
    figures: Figures | None = Field(
        description="null where Valkey has nothing of the key; an average is null where nothing was measured"
    )
    wrong_key: str | None = Field(default=None, description=WRONG_KEY)


class Today(Key):
    """Today's figures of a key, as they stand in Valkey."""

    at: str = Field(description="when the answer was made")
    device: LoopFigures = Field(description="visits and devices")
    page: LoopFigures = Field(description="pages and web vitals")


class Slot(BaseModel):
    """Rows of maxy_app_total_log that came in."""

    start: str = Field(description="the slot's first instant")
    end: str = Field(description="the next slot's first instant")
    rows: int = Field(description="how many rows came in")


class LogRate(BaseModel):
    """The log rate of the last ten minutes, oldest first; times without rows of the table are not there."""

    at: str = Field(description="when the answer was made")
    slots: list[Slot]


class Points(BaseModel):
    """Points of a scatter, column by column."""

    id: list[int] = Field(description="tells the points of one answer, or of one stream, apart")
    reg_dt_ms: list[int] = Field(description="when the row came in, milliseconds since 1970")
    value_ms: list[float] = Field(description="loading or response time, milliseconds")
    os_type: list[str | None] = Field(description="operating system")
    page: list[str | None] = Field(description="page_id, or req_url where there is none")
    device_model: list[str | None] = Field(description="the device's model")
    app_ver: list[str | None] = Field(description="version of the application")
    com_type: list[str | None] = Field(description="kind of connection, such as 5G")


class Scatter(BaseModel):
    """The points of the last minutes, as they stand in Valkey."""

    at: str = Field(description="when the answer was made")
    loop: ScatterName = Field(description="whose points they are")
    points: Points
    meta: dict[str, str] | None = Field(
        description="the loop's own notes on the key: last_saved_at, last_reg_dt, counts"
    )
    wrong_key: str | None = Field(default=None, description=WRONG_KEY)


class DayState(StrEnum):
    """What the table has of a day."""

    PRESENT = "present"
    #: The day is computed, and the key has no row in it.
    NO_ROW = "no_row"
    #: The table has no row at all of the day, though an earlier one was computed.
    MISSING = "missing"
    #: Earlier than every day that was ever computed, or none was: nothing is missing yet.
    BEFORE_FIRST = "before_first"
    #: Today or later.
    NOT_DUE = "not_due"


class HistoryDay(BaseModel):
    """One day of a key."""

    stat_date: str = Field(description="the day, in the statistics zone")
    start: str = Field(description="the day's first instant")
    end: str = Field(description="the next day's first instant")
    state: DayState = Field(
        description="present; no_row: the day is computed, without this key; missing: not computed; before_first: "
        "earlier than any computed day; not_due: not over yet"
    )
    figures: Figures | None = Field(
        description="null without a row; an average is null where nothing was measured. Of several rows the newest"
    )
    week_before: Figures | None = Field(description="the figures seven days before")
    week_before_state: DayState = Field(description="state of the day seven days before")
    updated_at: str | None = Field(description="when the row was computed")


class History(BaseModel):
    """Days of a key, oldest first, one entry per calendar day."""

    timezone: str = Field(description="the statistics time zone, an IANA name")
    first: str = Field(description="the first day shown")
    last: str = Field(description="the last day shown")
    first_computed: str | None = Field(description="the first day that was ever computed; null where there is none")
    dag_id: str = Field(description="the DAG that computes the days")
    days: list[HistoryDay]


class HealthProblem(BaseModel):
    """Something that is wrong, or will be, with what repairs it."""

    kind: ProblemKind = Field(description="what it is about")
    message: str = Field(description="an English sentence")
    values: dict[str, str | int | float] = Field(description="what is named in the sentence")
    commands: list[str] = Field(description="what repairs it: in a checkout first, then elsewhere; may be empty")


class LeftOut(BaseModel):
    """What the newest computation of a day has left out for one cause."""

    cause: str = Field(description="why, in English")
    rows: int = Field(description="how many rows, values or keys")
    examples: list[str] = Field(description="the worst packages or keys, with their numbers")


class DailyDay(BaseModel):
    """What the table has of a day."""

    stat_date: str = Field(description="the day, in the statistics zone")
    state: DayState = Field(description="present, missing, or before_first: earlier than any computed day")
    keys: int = Field(description="keys that have a row, each counted once")
    rows: int = Field(description="rows; more than keys where a key stands in several")
    cached_keys: int | None = Field(
        description="keys in the day's index in Valkey; null where it is not expected there, or cannot be asked"
    )
    updated_at: str | None = Field(description="when the newest row was computed")
    left_out: list[LeftOut] = Field(description="what was left out, the most first")


class Daily(BaseModel):
    """The daily job's last days, newest first."""

    dag_id: str = Field(description="the DAG that computes the days")
    days: list[DailyDay] | None = Field(description="null where the table cannot be asked")
    first_computed: str | None = Field(
        default=None, description="the first day that was ever computed; null where there is none"
    )
    error: str | None = Field(default=None, description="why the table cannot be asked")
    left_out_error: str | None = Field(default=None, description="why it is not known what was left out")


class Health(BaseModel):
    """Status of loops, daily job and servers. What could not be asked says why."""

    at: str = Field(description="when the answer was made")
    timezone: str | None = Field(description="the statistics time zone; null where the settings cannot be read")
    error: str | None = Field(description="why the package's settings cannot be read; there are no loops then")
    valkey: ValkeyServer
    clickhouse: ClickHouseServer
    loops: list[LoopReport]
    problems: list[HealthProblem] = Field(
        description="of disks, clocks, persistence, and days that are not as readers rely on them"
    )
    daily: Daily
    queries: Queries
