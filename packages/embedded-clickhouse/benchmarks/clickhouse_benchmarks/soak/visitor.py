"""One client of the load: what it may do, and a model of what must come of it.

Rows, keys and partitions belong to one client each, so its model needs no other: what it was told is stored, it must
read, whatever the others do meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clickhouse_benchmarks.soak.clients import HttpClient, NativeClient, Refused

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from clickhouse_benchmarks.soak.clients import Client, Insert, Row
    from embedded_clickhouse.testing import Server

TABLES = (
    "CREATE TABLE events (client UInt8, number UInt32, row UInt32, text String) ENGINE = MergeTree"
    " ORDER BY (client, number, row)",
    "CREATE TABLE totals (client UInt8, rows UInt64, total UInt64) ENGINE = SummingMergeTree ORDER BY client",
    "CREATE MATERIALIZED VIEW totals_of_events TO totals AS"
    " SELECT client, count() AS rows, sum(row) AS total FROM events GROUP BY client",
    "CREATE TABLE states (client UInt8, key UInt8, version UInt32, value UInt32)"
    " ENGINE = ReplacingMergeTree(version) ORDER BY (client, key)",
    "CREATE TABLE days (client UInt8, n UInt32) ENGINE = MergeTree PARTITION BY client ORDER BY n",
)
_SIZES = (1, 5, 50, 500)
_KEYS = 20
_CANCELLED = 394
_UNKNOWN_TABLE = 60
_DEADLINE_SECONDS = 30.0
_LOOK_SECONDS = 0.02


@dataclass
class Model:
    """What the client was told is stored.

    :param events: rows of each of its inserts, by number.
    :param states: the newest version and value by key.
    :param days: rows of its partition.
    """

    events: dict[int, int] = field(default_factory=dict)
    states: dict[int, tuple[int, int]] = field(default_factory=dict)
    days: list[int] = field(default_factory=list)

    @property
    def totals(self) -> tuple[int, int]:
        """Rows, and the sum of their numbers, as the materialized view has them."""
        return sum(self.events.values()), sum(rows * (rows - 1) // 2 for rows in self.events.values())


class Visitor:
    """One client, which does one thing after the other.

    :param name: its number; odd ones use HTTP, even ones the native protocol.
    :param server: where to.
    :param chance: decides what it does.
    """

    def __init__(self, name: int, server: Server, chance: random.Random) -> None:
        self.name = name
        self._server = server
        self._chance = chance
        self.client = self._connect(http=bool(name % 2))
        # The other protocol, for what one connection cannot do to itself.
        self.other = self._connect(http=not name % 2)
        self.model = Model()
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._numbers = 0
        self._stalled: tuple[Client, Insert, int, int] | None = None
        self._ways: list[tuple[int, Callable[[], None]]] = [
            (8, self.insert),
            (3, self.leave_an_insert),
            (3, self.stall),
            (3, self.end_a_stall),
            (4, self.replace_states),
            (3, self.read_states),
            (3, self.read_totals),
            (3, self.read_events),
            (2, self.change_tables),
            (2, self.replace_a_partition),
            (3, self.leave_a_result),
            (1, self.kill_a_query),
            (2, self.be_refused),
            (2, self.use_a_session),
        ]

    def step(self) -> None:
        """Do something. What must not be becomes a fault."""
        weights = [weight for weight, _ in self._ways]
        ((_, way),) = self._chance.choices(self._ways, weights)
        self.attempt(way)

    def attempt(self, way: Callable[[], None]) -> None:
        """Do one thing."""
        self.done[way.__name__] += 1
        try:
            way()
        except Exception as error:
            self.faults.append(f"client {self.name}, {way.__name__}: {type(error).__name__}: {error}")
            # Whatever is left on the connections is not for the next statement.
            self.client.close()
            self.other.close()

    def try_everything(self) -> None:
        """Do each thing once."""
        for _, way in self._ways:
            self.attempt(way)

    def finish(self) -> None:
        """End what is stalled, compare everything once more and leave."""
        for way in (self.end_a_stall, self.read_events, self.read_totals, self.read_states, self.read_partition):
            self.attempt(way)
        self.client.close()
        self.other.close()

    # Inserts.

    def insert(self) -> None:
        number, blocks = self._next_insert()
        insert = self.client.begin("events")
        for block in blocks:
            insert.send(block)
        insert.end()
        self.model.events[number] = sum(map(len, blocks))

    def leave_an_insert(self) -> None:
        _, blocks = self._next_insert()
        insert = self.client.begin("events")
        for block in blocks[: self._chance.randrange(len(blocks) + 1)]:
            insert.send(block)
        insert.abandon()

    def stall(self) -> None:
        """Begin an insert on a connection of its own, and let it wait while other things are done."""
        if self._stalled is not None:
            return
        client = self._connect(http=self._chance.random() < 0.5)
        number, blocks = self._next_insert()
        insert = client.begin("events")
        insert.send(blocks[0])
        self._stalled = client, insert, number, len(blocks[0])

    def end_a_stall(self) -> None:
        if self._stalled is None:
            return
        (client, insert, number, rows), self._stalled = self._stalled, None
        if self._chance.random() < 0.5:
            insert.abandon()
        else:
            insert.end()
            self.model.events[number] = rows
        client.close()

    # Reading what was written.

    def replace_states(self) -> None:
        rows = []
        for key in self._chance.sample(range(_KEYS), 5):
            version = self.model.states.get(key, (0, 0))[0] + 1
            rows.append((self.name, key, version, self._chance.randrange(10**6)))
        insert = self.client.begin("states")
        insert.send(rows)
        insert.end()
        self.model.states.update({key: (version, value) for _, key, version, value in rows})

    def read_states(self) -> None:
        found = self._rows(f"SELECT key, version, value FROM states FINAL WHERE client = {self.name} ORDER BY key")
        self._expect(found, [[key, *state] for key, state in sorted(self.model.states.items())])

    def read_totals(self) -> None:
        found = self._rows(f"SELECT sum(rows), sum(total) FROM totals WHERE client = {self.name}")
        self._expect(found, [list(self.model.totals)])

    def read_events(self) -> None:
        found = self._rows(
            "SELECT number, count(), uniqExact(row), max(row) + 1, countIf(text != concat('row ', toString(row)))"
            f" FROM events WHERE client = {self.name} GROUP BY number ORDER BY number"
        )
        self._expect(found, [[number, rows, rows, rows, 0] for number, rows in sorted(self.model.events.items())])

    def read_partition(self) -> None:
        found = self._rows(f"SELECT n FROM days WHERE client = {self.name} ORDER BY n")
        self._expect([n for (n,) in found], self.model.days)

    # Tables.

    def change_tables(self) -> None:
        name = f"own_{self.name}"
        for sql in (
            f"CREATE TABLE {name} (a UInt32) ENGINE = MergeTree ORDER BY a",
            f"INSERT INTO {name} SELECT number FROM numbers(100)",
            f"ALTER TABLE {name} ADD COLUMN b String DEFAULT toString(a)",
            f"RENAME TABLE {name} TO {name}_renamed",
            f"ALTER TABLE {name}_renamed DELETE WHERE a >= 50",
        ):
            self._rows(sql)
        try:
            _wait(lambda: self._rows(f"SELECT sum(a), countIf(b = toString(a)) FROM {name}_renamed") == [[1225, 50]])
        finally:
            self._rows(f"DROP TABLE {name}_renamed SYNC")

    def replace_a_partition(self) -> None:
        stage = f"stage_{self.name}"
        rows = [self._chance.randrange(10**6) for _ in range(self._chance.choice(_SIZES))]
        self._rows(f"CREATE TABLE {stage} AS days")
        insert = self.client.begin(stage)
        insert.send([(self.name, n) for n in rows])
        insert.end()
        self._rows(f"ALTER TABLE days REPLACE PARTITION {self.name} FROM {stage}")
        self.model.days = sorted(rows)
        self._rows(f"DROP TABLE {stage} SYNC")
        self.read_partition()

    # Bad manners.

    def leave_a_result(self) -> None:
        client = self._connect(http=self._chance.random() < 0.5)
        reading = client.start("SELECT number, toString(number) FROM numbers(100000000)", query_id=self._id("left"))
        reading.first()
        client.close()

    def kill_a_query(self) -> None:
        query_id = self._id("killed")
        reading = self.client.start("SELECT count() FROM system.numbers WHERE NOT ignore(number)", query_id=query_id)
        running = f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = '{query_id}'"
        _wait(lambda: self.other.rows(running) == [[1]])
        self.other.rows(f"KILL QUERY WHERE query_id = '{query_id}' SYNC")
        try:
            reading.rest()
        except Refused as error:
            self._expect(error.code, _CANCELLED)
        else:
            raise AssertionError("a killed query ended as if it had not been")

    def be_refused(self) -> None:
        try:
            self._rows("SELECT * FROM no_such_table")
        except Refused as error:
            self._expect(error.code, _UNKNOWN_TABLE)
        else:
            raise AssertionError("a table that is not there was read")

    def use_a_session(self) -> None:
        settings = {"session_id": self._id("session"), "session_timeout": "10"}
        client: Client = HttpClient(self._server, settings) if self.name % 2 else NativeClient(self._server)
        client.rows("CREATE TEMPORARY TABLE mine (a UInt32)")
        client.rows("INSERT INTO mine SELECT number FROM numbers(10)")
        self._expect(client.rows("SELECT sum(a) FROM mine"), [[45]])
        client.close()

    # Help.

    def _connect(self, *, http: bool) -> Client:
        if http:
            return HttpClient(self._server)
        return NativeClient(self._server, compression="lz4" if self.name % 4 else False)

    def _rows(self, sql: str) -> list[list[Any]]:
        return self.client.rows(sql)

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind} {self.name} {self._numbers}"

    def _next_insert(self) -> tuple[int, list[list[Row]]]:
        self._numbers += 1
        sizes = [self._chance.choice(_SIZES) for _ in range(self._chance.choice((1, 1, 3)))]
        rows: list[Row] = [(self.name, self._numbers, row, f"row {row}") for row in range(sum(sizes))]
        ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
        return self._numbers, [rows[end - size : end] for size, end in zip(sizes, ends, strict=True)]

    def _expect(self, found: object, expected: object) -> None:
        if found != expected:
            raise AssertionError(f"found {str(found)[:300]}, expected {str(expected)[:300]}")


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {_DEADLINE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
