"""Statements that a pipeline of statistics lives on: what each has done when it says that it is done."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from clickhouse_testkit.target import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_testkit.suite import Suite

_DEADLINE_SECONDS = 30.0


class _Sql:
    """Statements over one protocol, with ``{name}`` standing for a table of the test's own.

    :param suite: the clients.
    :param client: which of them.
    """

    def __init__(self, suite: Suite, client: str) -> None:
        self._suite = suite
        self._client = suite.client(client)
        self._names: dict[str, str] = {}

    def __call__(self, sql: str, **settings: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement, bytes as text."""
        for name in ("source", "target", "view", "stage", "dictionary"):
            if "{" + name + "}" in sql and name not in self._names:
                self._names[name] = self._suite.new_name()
        for name, actual in self._names.items():
            sql = sql.replace("{" + name + "}", actual)
        return [
            tuple(value.decode() if isinstance(value, bytes) else value for value in row)
            for row in self._client.rows(sql, settings)
        ]

    def name(self, name: str) -> str:
        """The table that ``{name}`` stands for."""
        return self._names[name]

    def drop(self) -> None:
        """Remove the tables; views before what they read."""
        kinds = {"dictionary": "DICTIONARY"}
        for name in sorted(self._names, key=lambda name: name not in {"view", "dictionary"}):
            self._suite.plain.ask(f"DROP {kinds.get(name, 'TABLE')} IF EXISTS {self._names[name]} SYNC")


@pytest.fixture(params=["plain", "native"])
def sql(suite: Suite, request: pytest.FixtureRequest) -> Iterator[_Sql]:
    own = _Sql(suite, request.param)
    yield own
    own.drop()


def test_a_materialized_view_keeps_states_that_add_up(sql: _Sql) -> None:
    sql("CREATE TABLE {source} (day Date, who UInt64, spent Float64) ENGINE = MergeTree ORDER BY day")
    sql(
        "CREATE TABLE {target} (day Date, users AggregateFunction(groupBitmap, UInt64),"
        " total SimpleAggregateFunction(sum, Float64), middle AggregateFunction(quantileTDigest, Float64))"
        " ENGINE = AggregatingMergeTree ORDER BY day"
    )
    sql(
        "CREATE MATERIALIZED VIEW {view} TO {target} AS SELECT day, groupBitmapState(who) AS users,"
        " sum(spent) AS total, quantileTDigestState(spent) AS middle FROM {source} GROUP BY day"
    )
    sql("INSERT INTO {source} SELECT toDate('2026-11-01'), number % 1000, number FROM numbers(5000)")
    sql("INSERT INTO {source} SELECT toDate('2026-11-01') + number % 2, 500 + number % 1000, 1 FROM numbers(5000)")
    expected = [("2026-11-01", 1250, sum(range(5000)) + 2500.0), ("2026-11-02", 500, 2500.0)]
    ask = (
        "SELECT toString(day), groupBitmapMerge(users), sum(total), quantileTDigestMerge(middle) >= 1"
        " FROM {target} GROUP BY day ORDER BY day"
    )
    assert [row[:3] for row in sql(ask)] == expected
    sql("OPTIMIZE TABLE {target} FINAL")
    assert [row[:3] for row in sql(ask)] == expected
    assert sql("SELECT count() FROM {target}") == [(2,)]
    both = "SELECT groupBitmapMerge(users), bitmapCardinality(groupBitmapMergeState(users)) FROM {target}"
    assert sql(both) == [(1500, 1500)]


def test_states_go_through_a_client_and_back(suite: Suite) -> None:
    state = suite.plain.ask("SELECT hex(groupBitmapState(toUInt32(number * 7))) FROM numbers(100)")
    asked = "SELECT finalizeAggregation(CAST(unhex({x:String}), 'AggregateFunction(groupBitmap, UInt32)'))"
    assert suite.plain.ask(asked, param_x=state) == "100"


def test_the_last_version_of_a_row_is_the_one_final_shows(sql: _Sql) -> None:
    sql(
        "CREATE TABLE {source} (k UInt32, v String, version UInt32, gone UInt8)"
        " ENGINE = ReplacingMergeTree(version, gone) ORDER BY k"
    )
    sql("INSERT INTO {source} VALUES (1, 'old', 1, 0), (2, 'two', 1, 0), (3, 'three', 1, 0)")
    sql("INSERT INTO {source} VALUES (1, 'new', 3, 0), (3, 'three', 2, 1)")
    sql("INSERT INTO {source} VALUES (1, 'late', 2, 0)")
    expected = [(1, "new"), (2, "two")]
    assert sql("SELECT k, v FROM {source} FINAL ORDER BY k") == expected
    assert sql("SELECT k, v FROM {source} ORDER BY k", final=1) == expected
    assert (
        sql("SELECT k, argMax(v, version) FROM {source} GROUP BY k HAVING argMax(gone, version) = 0 ORDER BY k")
        == expected
    )
    sql("OPTIMIZE TABLE {source} FINAL")
    assert sql("SELECT k, v FROM {source} WHERE NOT gone ORDER BY k") == expected


def test_rows_that_cancel_each_other_and_sums(sql: _Sql) -> None:
    sql("CREATE TABLE {source} (k UInt32, v UInt32, sign Int8) ENGINE = CollapsingMergeTree(sign) ORDER BY k")
    sql("INSERT INTO {source} VALUES (1, 10, 1), (2, 20, 1)")
    sql("INSERT INTO {source} VALUES (1, 10, -1), (1, 11, 1)")
    assert sql("SELECT k, v FROM {source} FINAL ORDER BY k") == [(1, 11), (2, 20)]
    sql("CREATE TABLE {target} (k UInt32, v UInt64) ENGINE = SummingMergeTree ORDER BY k")
    sql("INSERT INTO {target} VALUES (1, 1), (2, 5)")
    sql("INSERT INTO {target} VALUES (1, 2)")
    assert sql("SELECT k, v FROM {target} FINAL ORDER BY k") == [(1, 3), (2, 5)]


def test_a_partition_is_replaced_in_one_step(sql: _Sql) -> None:
    for name in ("{source}", "{stage}"):
        sql(f"CREATE TABLE {name} (day Date, v UInt32) ENGINE = MergeTree PARTITION BY day ORDER BY v")
    sql("INSERT INTO {source} VALUES ('2026-11-01', 1), ('2026-11-02', 2)")
    sql("INSERT INTO {stage} VALUES ('2026-11-01', 10), ('2026-11-01', 11), ('2026-11-03', 30)")
    sql("ALTER TABLE {source} REPLACE PARTITION '2026-11-01' FROM {stage}")
    assert sql("SELECT toString(day), v FROM {source} ORDER BY v") == [
        ("2026-11-02", 2),
        ("2026-11-01", 10),
        ("2026-11-01", 11),
    ]
    sql("ALTER TABLE {source} REPLACE PARTITION '2026-11-01' FROM {stage}")
    assert sql("SELECT count() FROM {source}") == [(3,)]
    with pytest.raises(Failure) as caught:
        sql("ALTER TABLE {source} REPLACE PARTITION '2026-11-02' FROM {stage}")
    assert caught.value.code == 36, "a partition must not be replaced by nothing"
    sql("ALTER TABLE {source} DROP PARTITION '2026-11-02'")
    assert sql("SELECT v FROM {source} ORDER BY v") == [(10,), (11,)]
    sql("ALTER TABLE {source} ATTACH PARTITION '2026-11-03' FROM {stage}")
    sql("ALTER TABLE {stage} MOVE PARTITION '2026-11-01' TO TABLE {source}")
    assert sql("SELECT v FROM {source} ORDER BY v") == [(10,), (10,), (11,), (11,), (30,)]
    assert sql("SELECT v FROM {stage}") == [(30,)]
    sql("ALTER TABLE {source} DROP PARTITION '2026-11-01'")
    sql("ALTER TABLE {source} DETACH PARTITION '2026-11-03'")
    assert sql("SELECT count() FROM {source}") == [(0,)]
    sql("ALTER TABLE {source} ATTACH PARTITION '2026-11-03'")
    assert sql("SELECT v FROM {source}") == [(30,)]


def test_tables_change_places_in_one_step(sql: _Sql) -> None:
    sql("CREATE TABLE {source} (a UInt8) ENGINE = MergeTree ORDER BY a")
    sql("CREATE TABLE {stage} (b String) ENGINE = MergeTree ORDER BY b")
    sql("INSERT INTO {source} VALUES (1)")
    sql("INSERT INTO {stage} VALUES ('x')")
    sql("EXCHANGE TABLES {source} AND {stage}")
    assert sql("SELECT b FROM {source}") == [("x",)]
    assert sql("SELECT a FROM {stage}") == [(1,)]
    sql("RENAME TABLE {source} TO {target}")
    assert sql("SELECT b FROM {target}") == [("x",)]
    sql("CREATE OR REPLACE TABLE {target} (c UInt8) ENGINE = MergeTree ORDER BY c")
    assert sql("SELECT count() FROM {target}") == [(0,)]


@pytest.fixture
def hundred(sql: _Sql) -> _Sql:
    """A table {source} of a hundred rows."""
    sql("CREATE TABLE {source} (k UInt32, v String) ENGINE = MergeTree ORDER BY k")
    sql("INSERT INTO {source} SELECT number, toString(number) FROM numbers(100)")
    return sql


def test_a_mutation_that_is_waited_for_is_done(hundred: _Sql) -> None:
    hundred("ALTER TABLE {source} UPDATE v = concat(v, '!') WHERE k < 10 SETTINGS mutations_sync = 2")
    hundred("ALTER TABLE {source} DELETE WHERE k >= 50", mutations_sync=2)
    assert hundred("SELECT count(), countIf(endsWith(v, '!')) FROM {source}") == [(50, 10)]
    table = hundred.name("source")
    assert hundred(
        f"SELECT sum(is_done), count() FROM system.mutations WHERE database = currentDatabase() AND table = '{table}'"
    ) == [(2, 2)]


def test_deleted_rows_are_gone_at_once(hundred: _Sql) -> None:
    hundred("DELETE FROM {source} WHERE k % 2 = 0")
    assert hundred("SELECT count(), sum(k) FROM {source}") == [(50, sum(range(1, 100, 2)))]
    hundred("TRUNCATE TABLE {source}")
    assert hundred("SELECT count() FROM {source}") == [(0,)]


def test_columns_come_and_go(hundred: _Sql) -> None:
    hundred("ALTER TABLE {source} ADD COLUMN w UInt32 DEFAULT k * 2 AFTER k")
    assert hundred("SELECT * FROM {source} WHERE k = 7") == [(7, 14, "7")]
    hundred("ALTER TABLE {source} RENAME COLUMN v TO name")
    hundred("ALTER TABLE {source} MODIFY COLUMN name LowCardinality(String)")
    assert hundred("SELECT name, toTypeName(name) FROM {source} WHERE k = 7") == [("7", "LowCardinality(String)")]
    hundred("ALTER TABLE {source} DROP COLUMN w")
    assert hundred("SELECT * FROM {source} WHERE k = 7") == [(7, "7")]


def test_rows_past_their_time_go(sql: _Sql) -> None:
    sql(
        "CREATE TABLE {source} (at DateTime, v UInt32) ENGINE = MergeTree ORDER BY v TTL at + INTERVAL 1 DAY"
        " SETTINGS merge_with_ttl_timeout = 0"
    )
    sql("INSERT INTO {source} SELECT now() - toIntervalDay(if(number % 2, 5, 0)), number FROM numbers(10)")
    sql("OPTIMIZE TABLE {source} FINAL")
    assert sql("SELECT v FROM {source} ORDER BY v") == [(0,), (2,), (4,), (6,), (8,)]
    sql("ALTER TABLE {source} MODIFY TTL at - INTERVAL 1 DAY", mutations_sync=2)
    sql("OPTIMIZE TABLE {source} FINAL")
    assert sql("SELECT count() FROM {source}") == [(0,)]


def test_a_projection_answers_as_its_table_does(sql: _Sql) -> None:
    sql(
        "CREATE TABLE {source} (k UInt32, g UInt32, v UInt32, PROJECTION by_g (SELECT g, sum(v) GROUP BY g))"
        " ENGINE = MergeTree ORDER BY k"
    )
    sql("INSERT INTO {source} SELECT number, number % 3, number FROM numbers(9000)")
    ask = "SELECT g, sum(v) FROM {source} GROUP BY g ORDER BY g"
    expected = [(group, sum(range(group, 9000, 3))) for group in range(3)]
    assert sql(ask, force_optimize_projection=1) == expected
    assert sql(ask, optimize_use_projections=0) == expected
    sql("ALTER TABLE {source} ADD PROJECTION by_v (SELECT v, count() GROUP BY v)")
    sql("ALTER TABLE {source} MATERIALIZE PROJECTION by_v", mutations_sync=2)
    assert sql("SELECT count() FROM (SELECT v, count() FROM {source} GROUP BY v)", force_optimize_projection=1) == [
        (9000,)
    ]


def test_a_view_takes_parameters(hundred: _Sql) -> None:
    hundred("CREATE VIEW {view} AS SELECT k, v FROM {source} WHERE k BETWEEN {low:UInt32} AND {high:UInt32}")
    assert hundred("SELECT k FROM {view}(low = 3, high = 5) ORDER BY k") == [(3,), (4,), (5,)]
    assert hundred("SELECT count() FROM {view}(low = 50, high = 1000)") == [(50,)]


def test_a_dictionary_is_asked(hundred: _Sql) -> None:
    hundred(
        "CREATE DICTIONARY {dictionary} (k UInt64, v String) PRIMARY KEY k"
        " SOURCE(CLICKHOUSE(QUERY 'SELECT number AS k, concat(''n'', toString(number)) AS v FROM numbers(10)'))"
        " LIFETIME(0) LAYOUT(FLAT())"
    )
    name = hundred.name("dictionary")
    assert hundred(
        f"SELECT dictGetOrDefault('{name}', 'v', toUInt64(k), 'none') FROM {{source}} WHERE k IN (3, 30) ORDER BY k"
    ) == [
        ("n3",),
        ("none",),
    ]


def test_a_block_with_a_token_is_stored_once(sql: _Sql) -> None:
    sql(
        "CREATE TABLE {source} (a UInt32) ENGINE = MergeTree ORDER BY a"
        " SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("one", "one", "two"):
        sql("INSERT INTO {source} SELECT number FROM numbers(3)", insert_deduplication_token=token)
    assert sql("SELECT count() FROM {source}") == [(6,)]


def test_an_insert_may_select_from_its_own_data(suite: Suite) -> None:
    table = suite.new_name()
    suite.plain.ask(
        f"CREATE TABLE {table} (a UInt32, s String, at DateTime('Asia/Tokyo')) ENGINE = MergeTree ORDER BY a"
    )
    own = "input('n UInt32, t String, at DateTime(''Asia/Tokyo'')')"
    insert = f"INSERT INTO {table} SELECT n + 1, upper(t), at + 1 FROM {own} WHERE n != 100"
    # With the data behind the statement, in a body of its own, and in blocks.
    suite.plain.ask(f"{insert} FORMAT CSV\n1,a,2026-01-01 09:00:00\n100,x,2026-01-01 09:00:00\n")
    assert suite.plain.data(f"{insert} FORMAT JSONEachRow", '{"n": 2, "t": "b", "at": 0}').status == 200
    # In chunks too: the statement's end is found before the data's.
    many = "".join(f"{number},c,1970-01-01 09:00:00\n" for number in range(1000, 101_000)).encode()
    assert suite.plain.data(f"{insert} FORMAT CSV", many).status == 200
    at = datetime(2026, 1, 1, tzinfo=UTC)
    suite.native.client.execute(f"{insert} FORMAT Native", [(3, b"d", at), (100, b"x", at)])

    rows = suite.plain.rows(f"SELECT a, s, toUnixTimestamp(at) FROM {table} WHERE a < 1000 ORDER BY a")
    new_year = int(at.timestamp())
    assert rows == [[2, "A", new_year + 1], [3, "B", 1], [4, "D", new_year + 1]]
    assert suite.plain.rows(f"SELECT count(), sum(a) FROM {table} WHERE a > 1000") == [
        [100_000, sum(range(1001, 101_001))]
    ]
    suite.plain.ask(f"DROP TABLE {table} SYNC")


def test_only_stored_columns_are_asked_for(suite: Suite) -> None:
    table = suite.new_name()
    suite.plain.ask(
        f"CREATE TABLE {table} (a UInt32, b UInt32 MATERIALIZED a + 1, c UInt32 ALIAS a + 2, e UInt32 EPHEMERAL,"
        " d UInt32 DEFAULT a + e) ENGINE = MergeTree ORDER BY a"
    )
    suite.native.client.execute(f"INSERT INTO {table} VALUES", [(1, 10)])
    suite.native.client.execute(f"INSERT INTO {table} (a, e) VALUES", [(2, 5)])
    suite.plain.ask(f"INSERT INTO {table} (a) VALUES (3)")
    suite.connect.insert(table, ["a", "d"], ["UInt32", "UInt32"], [(4, 40)])
    assert suite.plain.ask(f"SELECT a, b, c, d FROM {table} ORDER BY a").splitlines() == [
        "1\t2\t3\t10",
        "2\t3\t4\t7",
        "3\t4\t5\t3",
        "4\t5\t6\t40",
    ]
    suite.plain.ask(f"DROP TABLE {table} SYNC")


def test_what_ran_is_in_the_log(suite: Suite) -> None:
    marker = suite.new_name() + suite.target.database
    suite.plain.ask(f"SELECT 1 /* {marker} */")
    asked = (
        "SELECT type, query_kind, read_rows FROM system.query_log WHERE position(query, {m:String}) > 0"
        " AND query NOT LIKE '%query_log%' AND type = 'QueryFinish'"
    )
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (found := suite.plain.ask(asked, param_m=marker)):
        assert time.monotonic() < deadline, "the statement did not come into the log"
        suite.plain.ask("SYSTEM FLUSH LOGS")
    assert found == "QueryFinish\tSelect\t1"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("EXISTS TABLE {source}", [(1,)]),
        ("EXISTS TABLE no_such_table", [(0,)]),
        ("SELECT name FROM system.columns WHERE table = '{source}' ORDER BY position", [("k",), ("v",)]),
        ("SHOW TABLES LIKE '{source}'", None),
        ("SELECT total_rows FROM system.tables WHERE database = currentDatabase() AND name = '{source}'", [(100,)]),
    ],
    ids=["exists", "exists not", "columns", "show", "system.tables"],
)
def test_tables_are_told_about(hundred: _Sql, question: str, answer: list[tuple[Any, ...]] | None) -> None:
    assert hundred(question) == (answer or [(hundred.name("source"),)])
