"""Inserts of which each row is stored exactly once, whatever becomes of ClickHouse or of the connection.

An insert without an answer may or may not have been stored, in whole or in part. So before its rows are sent again, the
table is asked which of them it has, by their keys; and once rows are known to be there, a ledger says so.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from local.statistics.sample_data.seeding import PAGE_FLOW, TOTAL_LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from local.statistics.sample_data.live import Delivery

# Seconds before the next attempt; a server that comes back is back at work within seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
# Seconds that a server gets to notice that the connection of an insert has ended, before the table is asked.
_NOTICE_SECONDS = 1.0
# How often the table is asked about an insert without an answer once the sender was told to end.
_LAST_QUESTIONS = 3

_QUESTIONS = {
    PAGE_FLOW: """
        SELECT page_start_tm, device_id, sum_mem_usage, toUnixTimestamp64Milli(reg_dt) FROM maxy_device_page_flow
        WHERE page_start_tm BETWEEN {first:UInt64} AND {last:UInt64}
          AND sum_mem_usage BETWEEN {lowest:UInt64} AND {highest:UInt64}
          AND reg_dt BETWEEN fromUnixTimestamp64Milli({earliest:Int64}) AND fromUnixTimestamp64Milli({latest:Int64})
    """,
    TOTAL_LOG: """
        SELECT log_tm, device_id, mem_usage, toUnixTimestamp64Milli(reg_dt) FROM maxy_app_total_log
        WHERE log_tm BETWEEN {first:UInt64} AND {last:UInt64}
          AND mem_usage BETWEEN {lowest:UInt64} AND {highest:UInt64}
          AND reg_dt BETWEEN fromUnixTimestamp64Milli({earliest:Int64}) AND fromUnixTimestamp64Milli({latest:Int64})
    """,
}
# The embedded server keeps a query's id in log_comment.
_STILL_RUNNING = """
    SELECT count() FROM system.processes WHERE query_id = {id:String} OR Settings['log_comment'] = {id:String}
"""
# All that a DateTime64(3) can hold.
_EARLIEST_MS, _LATEST_MS = 0, 4_102_444_800_000


class StoreError(RuntimeError):
    """ClickHouse refused a statement or gave no answer; the text is its own."""


class NotSent(StoreError):
    """No connection came about, so nothing of an insert has reached the server."""


class UnknownOutcome(RuntimeError):
    """The sender had to end before it could learn whether an insert was stored; the text says how many rows it has."""


class Store(Protocol):
    """What a sender asks of ClickHouse."""

    def insert(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None, insert_id: str) -> None:
        """:raises NotSent: nothing was stored.

        :raises StoreError: it may have been stored, or a part of it.
        """

    def runs(self, insert_id: str) -> bool:
        """Whether the insert is still at work.

        :raises StoreError: no answer.
        """

    def stored(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None) -> set[int]:
        """Which rows of the delivery the table has, by their places.

        :raises StoreError: no answer.
        """


class ClickHouseStore:
    """The source tables over HTTP.

    :param http: arguments of clickhouse_connect.get_client; the database is that of the source tables.
    """

    def __init__(self, http: Mapping[str, Any]) -> None:
        self._http = http
        self._client: Client | None = None

    def insert(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None, insert_id: str) -> None:
        columns = dict(delivery.columns)
        if reg_dt_ms is not None:
            columns["reg_dt"] = [f"{instant // 1000}.{instant % 1000:03}" for instant in reg_dt_ms]
        try:
            client = self._connected()
        except ClickHouseError as error:
            raise NotSent(_reason(error)) from error
        try:
            # Not Client.insert: it sends the rows again by itself when the server closes the connection, also after
            # they were stored.
            client.command(
                f"INSERT INTO {delivery.table} ({', '.join(columns)}) FORMAT JSONColumns",
                data=json.dumps(columns, ensure_ascii=False, allow_nan=False).encode(),
                settings={"query_id": insert_id},
            )
        except ClickHouseError as error:
            raise (NotSent if _had_no_connection(error) else StoreError)(_reason(error)) from error

    def runs(self, insert_id: str) -> bool:
        return bool(self._ask(_STILL_RUNNING, {"id": insert_id})[0][0])

    def stored(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None) -> set[int]:
        instants, _, numbers = zip(*delivery.event_keys(), strict=True)
        rows = self._ask(
            _QUESTIONS[delivery.table],
            {
                "first": min(instants),
                "last": max(instants),
                "lowest": min(numbers),
                "highest": max(numbers),
                "earliest": _EARLIEST_MS if reg_dt_ms is None else min(reg_dt_ms),
                "latest": _LATEST_MS if reg_dt_ms is None else max(reg_dt_ms),
            },
        )
        if reg_dt_ms is None:
            known = {tuple(row[:3]) for row in rows}
            return {place for place, key in enumerate(delivery.event_keys()) if key in known}
        # A repeat shares its key with the row that it repeats: only its own reg_dt tells that it is there.
        known = {tuple(row) for row in rows}
        own = zip(delivery.event_keys(), reg_dt_ms, strict=True)
        return {place for place, (key, reg_dt) in enumerate(own) if (*key, reg_dt) in known}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _ask(self, statement: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            return self._connected().query(statement, parameters=parameters).result_rows
        except ClickHouseError as error:
            raise StoreError(_reason(error)) from error

    def _connected(self) -> Client:
        if self._client is None:
            # No session: one whose insert lost its connection would stay locked for as long as that runs.
            self._client = clickhouse_connect.get_client(**self._http, autogenerate_session_id=False)
        return self._client


def _reason(error: ClickHouseError) -> str:
    """The server's words, or what the network said, without the address of the request that names every column."""
    cause = error.__cause__
    return str(error if cause is None else cause.reason if isinstance(cause, MaxRetryError) else cause)


def _had_no_connection(error: ClickHouseError) -> bool:
    cause = error.__cause__
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, (NewConnectionError, ConnectTimeoutError))


@dataclass
class Clock:
    """The time, and how to wait.

    :param now_ms: since 1970-01-01 UTC.
    :param pause: waits for seconds, or until the process is told to end; True when it was.
    """

    now_ms: Callable[[], int]
    pause: Callable[[float], bool]


class Ledger:
    """One JSON line per acknowledged insert: table, rows, counts, sent_at_ms, acknowledged_at_ms.

    A line is in the file as soon as the insert is acknowledged.

    :param path: appended to; None keeps no ledger.
    :raises OSError: it cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            # A path that cannot be written is refused before the first row is sent.
            path.touch()

    def add(self, delivery: Delivery, *, sent_at_ms: int, acknowledged_at_ms: int) -> None:
        if self._path is None:
            return
        line = {
            "table": delivery.table,
            "rows": len(delivery),
            "counts": delivery.counts(),
            "sent_at_ms": sent_at_ms,
            "acknowledged_at_ms": acknowledged_at_ms,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


@dataclass
class Totals:
    """:param rows: stored rows by table.

    :param repeated: inserts that had to be sent again, in whole or in part.
    """

    rows: dict[str, int] = field(default_factory=lambda: {PAGE_FLOW: 0, TOTAL_LOG: 0})
    repeated: int = 0


class Sender:
    """Brings each delivery into its table exactly once.

    :param store: ClickHouse.
    :param clock: the time.
    :param ledger: told about rows once they are known to be stored.
    :param report: takes a line when ClickHouse fails, and one when it works again.
    """

    def __init__(self, store: Store, clock: Clock, ledger: Ledger, report: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._ledger = ledger
        self._report = report
        self._failing_since_ms: int | None = None
        self.totals = Totals()

    def send(self, delivery: Delivery) -> None:
        """Return when all rows are stored, or when the process was told to end and the rest is known not to be.

        :raises UnknownOutcome: the process was told to end, and what became of an insert cannot be learnt.
        """
        missing, repeated = delivery, False
        pauses = _Pauses(self._clock)
        while len(missing):
            insert_id = str(uuid.uuid4())
            sent_at_ms = self._clock.now_ms()
            reg_dt_ms = None if missing.late_ms is None else [sent_at_ms - late for late in missing.late_ms]
            try:
                self._store.insert(missing, reg_dt_ms, insert_id)
                present = set(range(len(missing)))
            except NotSent as error:
                self._failed(error)
                present = set()
            except StoreError as error:
                self._failed(error)
                present = self._learn(missing, reg_dt_ms, insert_id)
                self.totals.repeated += not repeated and len(present) < len(missing)
                repeated = repeated or len(present) < len(missing)
            missing = self._acknowledge(missing, present, sent_at_ms)
            if len(missing) and pauses.next():
                return
        self._works()

    def _acknowledge(self, delivery: Delivery, present: set[int], sent_at_ms: int) -> Delivery:
        """Enter the rows that are there, and return the others."""
        if present:
            there = delivery if len(present) == len(delivery) else delivery.take(sorted(present))
            self._ledger.add(there, sent_at_ms=sent_at_ms, acknowledged_at_ms=self._clock.now_ms())
            self.totals.rows[there.table] += len(there)
        return delivery.take([place for place in range(len(delivery)) if place not in present])

    def _learn(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None, insert_id: str) -> set[int]:
        """Which rows of an insert without an answer are there; waits for ClickHouse, and for the insert if it runs."""
        pauses = _Pauses(self._clock, first=_NOTICE_SECONDS)
        refused = 0
        while True:
            refused += pauses.next()
            try:
                if not self._store.runs(insert_id):
                    return self._store.stored(delivery, reg_dt_ms)
            except StoreError as error:
                self._failed(error)
            if refused >= _LAST_QUESTIONS:
                raise UnknownOutcome(
                    f"ended without an answer to an insert of {len(delivery)} rows into {delivery.table}: whether they"
                    " are stored is not known, and they are not in the ledger"
                )

    def _failed(self, error: StoreError) -> None:
        if self._failing_since_ms is None:
            self._failing_since_ms = self._clock.now_ms()
            self._report(f"ClickHouse failed, rows wait until it works again: {error}")

    def _works(self) -> None:
        if self._failing_since_ms is not None:
            seconds = (self._clock.now_ms() - self._failing_since_ms) / 1000
            self._failing_since_ms = None
            self._report(f"ClickHouse works again after {seconds:.1f} s")


class _Pauses:
    """Growing pauses between attempts."""

    def __init__(self, clock: Clock, *, first: float = _FIRST_PAUSE) -> None:
        self._clock = clock
        self._seconds = first

    def next(self) -> bool:
        """Wait. True when the process was told to end."""
        seconds, self._seconds = self._seconds, min(2 * self._seconds, _LONGEST_PAUSE)
        return self._clock.pause(seconds)
