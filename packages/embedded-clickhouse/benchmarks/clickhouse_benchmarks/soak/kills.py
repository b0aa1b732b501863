"""Kill the server under writers and a running mutation, start it again, and count what is there.

Every insert has a writer, a number and numbered rows, so that each row is known by name. The table is changed by one
mutation a round, which adds one to a column: a mutation that was lost, or done twice, shows in it.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from clickhouse_benchmarks.soak.clients import HttpClient, Lost, NativeClient
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clickhouse_benchmarks.soak.clients import Client
    from embedded_clickhouse.testing import Server

_WRITERS = 4
# What the first mutations work on.
_FIRST_ROWS = 100_000
_SIZES = (1, 10, 200, 2000)
_MUTATION_SECONDS = 1.5
_MUTATION_DEADLINE_SECONDS = 60.0
_LOOK_SECONDS = 0.01
_CREATE = """
    CREATE TABLE inserts (writer UInt8, number UInt32, row UInt32, text String, mutations UInt32)
    ENGINE = MergeTree ORDER BY (writer, number, row)
"""
_FOUND = """
    SELECT
        writer, number, count(), uniqExact(row), max(row),
        countIf(text != concat(toString(writer), '/', toString(number), '/', toString(row))),
        min(mutations), max(mutations)
    FROM inserts GROUP BY writer, number
"""


class State(Enum):
    """How far an insert came, as its writer knows."""

    BEGUN = "begun"
    SENT = "sent whole, not acknowledged"
    ACKNOWLEDGED = "acknowledged"
    ABANDONED = "left in its middle"


@dataclass
class Record:
    """One insert.

    :param rows: how many it has.
    :param mutations_before: mutations whose acknowledgement came before it began: those leave it alone.
    :param mutations_at_end: mutations begun by the time it was acknowledged: later ones change it.
    """

    rows: int
    mutations_before: int
    state: State = State.BEGUN
    mutations_at_end: int | None = None


class Ledger:
    """What the writers and the mutations did; any thread may write to it."""

    def __init__(self) -> None:
        self.inserts: dict[tuple[int, int], Record] = {}
        self.mutations_begun = 0
        self.mutations_acknowledged = 0
        self._numbers = [0] * (_WRITERS + 1)

    def begin(self, writer: int, rows: int) -> tuple[int, Record]:
        """Enter an insert; it gets the next number of its writer."""
        number = self._numbers[writer]
        self._numbers[writer] += 1
        record = self.inserts[writer, number] = Record(rows, self.mutations_acknowledged)
        return number, record

    def acknowledge(self, record: Record) -> None:
        """Note that the server has an insert."""
        record.mutations_at_end = self.mutations_begun
        record.state = State.ACKNOWLEDGED

    def count(self, state: State) -> int:
        """How many inserts came so far."""
        return sum(record.state is state for record in list(self.inserts.values()))

    def faults(self, found: list[list[int]]) -> list[str]:
        """What is wrong with the table.

        :param found: rows of the statement that counts them, once the mutations have ended.
        """
        faults = []
        missing = {key for key, record in self.inserts.items() if record.state is State.ACKNOWLEDGED}
        for writer, number, *figures in found:
            missing.discard((writer, number))
            record = self.inserts.get((writer, number))
            fault = "nobody sent it" if record is None else self._fault(record, *figures)
            if fault:
                faults.append(f"insert {number} of writer {writer}: {fault}")
        faults += [f"insert {number} of writer {writer}: acknowledged and lost" for writer, number in missing]
        return faults

    def _fault(
        self, record: Record, count: int, distinct: int, last: int, wrong: int, fewest: int, most: int
    ) -> str | None:
        if record.state in {State.BEGUN, State.ABANDONED}:
            return f"{count} rows of it are there, and it never was complete"
        if not count == distinct == last + 1 == record.rows:
            return f"{count} rows of {record.rows} ({record.state.value}), {distinct} different ones"
        if wrong:
            return f"{wrong} texts are not what was sent"
        at_end = self.mutations_begun if record.mutations_at_end is None else record.mutations_at_end
        least = self.mutations_begun - at_end
        if not least <= fewest <= most <= self.mutations_begun - record.mutations_before:
            return f"{fewest} to {most} of {self.mutations_begun} mutations were done, {least} are due"
        return None


class Writer:
    """Inserts until the server is gone.

    :param number: its number, from 1 on; odd ones use HTTP, even ones the native protocol.
    :param server: where to.
    :param ledger: knows what it did.
    :param chance: decides how large inserts are, and which are left in their middle.
    """

    def __init__(self, number: int, server: Server, ledger: Ledger, chance: random.Random) -> None:
        self._number = number
        self._client: Client
        if number % 2:
            self._client = HttpClient(server)
        else:
            self._client = NativeClient(server, compression="lz4" if number % 4 else False)
        self._ledger = ledger
        self._chance = chance
        self._thread = threading.Thread(target=self._run, name=f"writer {number}")
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it has noticed that the server is gone.

        :raises BaseException: whatever else ended it.
        """
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while True:
                self._insert()
        except Lost:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._client.close()

    def _insert(self) -> None:
        chance = self._chance
        blocks = [chance.choice(_SIZES) for _ in range(chance.choice((1, 1, 1, 4)))]
        number, record = self._ledger.begin(self._number, sum(blocks))
        left_after = chance.randrange(len(blocks) + 1) if chance.random() < 0.1 else None
        insert = self._client.begin("inserts")
        row = 0
        for index, rows in enumerate(blocks):
            if index == left_after:
                break
            insert.send([(self._number, number, n, f"{self._number}/{number}/{n}", 0) for n in range(row, row + rows)])
            row += rows
        if left_after is not None:
            record.state = State.ABANDONED
            insert.abandon()
            return
        record.state = State.SENT
        insert.end()
        self._ledger.acknowledge(record)


@dataclass
class KillsResult:
    """Figures of a run.

    :param open_seconds: from the start of the process to its readiness, for each start after a kill.
    :param mutation_seconds: from then to the end of the mutation.
    :param interrupted: rounds in which the mutation was running when the server was killed.
    :param stored: inserts without an acknowledgement that are there whole.
    """

    rounds: int = 0
    inserts: int = 0
    rows: int = 0
    acknowledged: int = 0
    abandoned: int = 0
    sent: int = 0
    stored: int = 0
    interrupted: int = 0
    open_seconds: list[float] = field(default_factory=list)
    mutation_seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    exit_status: int | None = None

    def __str__(self) -> str:
        opened, ended = self.open_seconds, self.mutation_seconds
        return (
            f"{self.rounds} kills, {self.interrupted} in the middle of a mutation; {self.inserts:,} inserts: "
            f"{self.acknowledged:,} acknowledged ({self.rows:,} rows), {self.abandoned:,} left in their middle, "
            f"{self.sent:,} without an answer, of which {self.stored:,} are there whole; "
            f"open in {min(opened):.2f} to {max(opened):.2f} s, mutation ended after {max(ended):.1f} s at most; "
            f"{len(self.faults)} faults, exit status {self.exit_status}"
        )


class Kills:
    """The rounds.

    :param directory: of the server.
    :param seed: decides what the writers do and when the server is killed.
    :param report: takes a line for each round.
    """

    def __init__(self, directory: Path, *, seed: int, report: Callable[[str], None]) -> None:
        self._directory = directory
        self._chance = random.Random(seed)
        self._seed = seed
        self._report = report
        self._ledger = Ledger()
        self._result = KillsResult()

    def run(self, rounds: int) -> KillsResult:
        """Kill so many times, and stop the last server in good order."""
        for number in range(rounds + 1):
            began = time.monotonic()
            with running_server(self._directory) as server:
                opened = time.monotonic() - began
                client = HttpClient(server)
                if number == 0:
                    self._prepare(client)
                else:
                    self._check(client, opened)
                if number < rounds:
                    self._kill(server, client, number)
                client.close()
        self._result.exit_status = server.process.returncode
        return self._summed()

    def _prepare(self, client: Client) -> None:
        client.rows(_CREATE)
        _, record = self._ledger.begin(0, _FIRST_ROWS)
        client.rows(
            f"INSERT INTO inserts SELECT 0, 0, number, concat('0/0/', toString(number)), 0 FROM numbers({_FIRST_ROWS})"
        )
        self._ledger.acknowledge(record)

    def _kill(self, server: Server, client: Client, number: int) -> None:
        writers = [
            Writer(name, server, self._ledger, random.Random(f"{self._seed} {number} {name}"))
            for name in range(1, _WRITERS + 1)
        ]
        for writer in writers:
            writer.start()
        # Writers first: the mutation is to find rows of this round too.
        begun = len(self._ledger.inserts)
        _until(lambda: len(self._ledger.inserts) >= begun + 2 * _WRITERS, "the first inserts of a round")
        self._mutate(client)
        time.sleep(self._chance.uniform(0, 0.8 * _MUTATION_SECONDS))
        self._result.interrupted += bool(_unfinished(client))
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        for writer in writers:
            writer.join()
        self._result.rounds += 1

    def _mutate(self, client: Client) -> None:
        """Begin a mutation that takes about as long as it should, however many rows there are."""
        ((rows,),) = client.rows("SELECT count() FROM inserts")
        self._ledger.mutations_begun += 1
        pause = f"{_MUTATION_SECONDS / rows:.9f}"
        client.rows(
            f"ALTER TABLE inserts UPDATE mutations = mutations + 1 + sleepEachRow({pause}) WHERE 1 "
            "SETTINGS mutations_sync = 0"
        )
        self._ledger.mutations_acknowledged += 1

    def _check(self, client: Client, opened: float) -> None:
        result = self._result
        began = time.monotonic()
        _until(lambda: not _unfinished(client), "the end of the mutation")
        ended = time.monotonic() - began
        found = client.rows(_FOUND)
        faults = self._ledger.faults(found)
        result.open_seconds.append(opened)
        result.mutation_seconds.append(ended)
        result.faults += faults
        # What an insert without an answer left is known from here on.
        there = {(writer, number) for writer, number, *_ in found}
        for key, record in self._ledger.inserts.items():
            if record.state is State.SENT:
                result.sent += 1
                result.stored += key in there
                self._settle(key, record, is_there=key in there)
        self._report(
            f"kill {result.rounds}: open in {opened:.2f} s, mutation ended after {ended:.2f} s, "
            f"{len(self._ledger.inserts):,} inserts so far, {sum(row[2] for row in found):,} rows, {len(faults)} faults"
        )
        for fault in faults[:5]:
            self._report(f"  {fault}")

    def _settle(self, key: tuple[int, int], record: Record, *, is_there: bool) -> None:
        if is_there:
            record.state, record.mutations_at_end = State.ACKNOWLEDGED, self._ledger.mutations_begun
        else:
            record.state = State.BEGUN

    def _summed(self) -> KillsResult:
        ledger, result = self._ledger, self._result
        result.inserts = len(ledger.inserts)
        result.acknowledged = ledger.count(State.ACKNOWLEDGED) - result.stored
        result.abandoned = ledger.count(State.ABANDONED)
        result.rows = sum(record.rows for record in ledger.inserts.values() if record.state is State.ACKNOWLEDGED)
        return result


def _unfinished(client: Client) -> int:
    ((count,),) = client.rows("SELECT count() FROM system.mutations WHERE table = 'inserts' AND NOT is_done")
    return int(count)


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _MUTATION_DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {_MUTATION_DEADLINE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
