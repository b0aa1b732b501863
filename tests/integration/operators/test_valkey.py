"""The Valkey hash writer against real servers."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.valkey.groups import GroupReader
from maxy.valkey.hashes import HashPublisher, Writer
from maxy.valkey.keys import KeyTemplate
from tests.support import hashes, run_task
from tests.valkey_replies import as_number

if TYPE_CHECKING:
    from collections.abc import Callable

    import clickhouse_driver

    from tests.support import Valkey

pytestmark = pytest.mark.usefixtures("connections", "clickhouse")

ROWS = """
SELECT * FROM values(
    'name String, number UInt64, ratio Nullable(Float64), at DateTime64(3, ''UTC''), day Date',
    ('a:1', 1, 0.1, '2026-11-21 07:36:14.102', '2026-11-21'),
    ('한국 [x] ''quoted''', 18446744073709551615, nan, '2026-11-21 07:36:14.100', '2026-11-21'),
    ('50%', 3, NULL, '2026-11-21 00:00:00', '2026-11-21'))
"""


def to_hashes(sql: str = ROWS, **options: Any) -> ClickHouseToValkeyHashOperator:
    settings: dict[str, Any] = {
        "key_template": "t:{name}",
        "index_key": "index:t",
        "expire": 60,
        "log_values": False,
    }
    return ClickHouseToValkeyHashOperator(task_id="cache", sql=sql, **{**settings, **options})


def test_writes_a_hash_per_row_with_values_as_readers_expect(valkey: Valkey) -> None:
    done = run_task(to_hashes())
    assert hashes(valkey, "t:*") == {
        "t:a%3A1": {
            "name": "a:1",
            "number": "1",
            "ratio": "0.1",
            "at": "2026-11-21T07:36:14.102000Z",
            "day": "2026-11-21",
        },
        "t:한국 [x] 'quoted'": {
            "name": "한국 [x] 'quoted'",
            "number": "18446744073709551615",
            "at": "2026-11-21T07:36:14.100000Z",
            "day": "2026-11-21",
        },
        "t:50%25": {"name": "50%", "number": "3", "at": "2026-11-21T00:00:00.000000Z", "day": "2026-11-21"},
    }
    assert (done["keys_written"], done["keys_removed"], done["superseded"]) == (3, 0, False)


def test_removes_keys_that_are_gone(valkey: Valkey) -> None:
    run_task(to_hashes())
    done = run_task(to_hashes("SELECT 'a:1' AS name, 2 AS number"))
    assert hashes(valkey, "t:*") == {"t:a%3A1": {"name": "a:1", "number": "2"}}
    assert done["keys_removed"] == 2


# The task of `to_hashes`, outside of a DAG.
OWNER = Writer("adhoc_airflow.cache", run="run")


def put_legacy(valkey: Valkey, score: float, *keys: str) -> None:
    """Put a group as the release before records left it."""
    valkey.zadd("index:t", dict.fromkeys(keys, score))
    for key in keys:
        valkey.hset(key, "number", "0")
    for key in ("index:t", *keys):
        valkey.expire(key, 60)


class Between:
    """Lets something happen in Valkey between an operator's query and its publication, once for each of the actions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], Any]) -> None:
        self._actions = iter(actions)
        self.queries = 0
        run_sql = ClickHouseToValkeyHashOperator.run_sql

        def query_and_act(operator: Any, *arguments: Any) -> Any:
            result = run_sql(operator, *arguments)
            self.queries += 1
            if action := next(self._actions, None):
                action()
            return result

        monkeypatch.setattr(ClickHouseToValkeyHashOperator, "run_sql", query_and_act)


FIGURE = "SELECT 'x' AS name, number FROM figure"


@pytest.fixture
def figure(clickhouse: clickhouse_driver.Client) -> Callable[[int], None]:
    clickhouse.execute("CREATE TABLE figure (number UInt32) ENGINE = MergeTree ORDER BY ()")

    def put(number: int) -> None:
        clickhouse.execute("TRUNCATE TABLE figure")
        clickhouse.execute(f"INSERT INTO figure VALUES ({number})")

    return put


@pytest.mark.parametrize("newer_is_published_first", [True, False])
def test_of_two_runs_at_once_the_one_that_read_last_stays(
    valkey: Valkey, figure: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, newer_is_published_first: bool
) -> None:
    figure(1)

    def other_run() -> None:
        if newer_is_published_first:
            figure(2)
        run_task(to_hashes(FIGURE))
        # What this run has read is of before in either case; the one that it reads at last is this.
        figure(3 if newer_is_published_first else 2)

    between = Between(monkeypatch, other_run)
    done = run_task(to_hashes(FIGURE))
    assert done["superseded"] is False
    assert hashes(valkey, "t:*")["t:x"]["number"] == ("3" if newer_is_published_first else "2")
    # Its own two, and the other's one.
    assert between.queries == 3


def test_a_run_that_is_overtaken_every_time_leaves_the_newer_result_and_says_so(
    valkey: Valkey, figure: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figure(1)

    def other_run() -> None:
        publisher = HashPublisher(valkey, "index:t", template=KeyTemplate("t:{name}"), writer=OWNER)
        publisher.publish(["t:x"], ["number"], [["99"]], version=publisher.state(), expire_seconds=60)

    Between(monkeypatch, *[other_run] * 50)
    done = run_task(to_hashes(FIGURE))
    assert (done["superseded"], done["keys_written"]) == (True, 0)
    assert hashes(valkey, "t:*") == {"t:x": {"number": "99"}}
    logged = capsys.readouterr().out
    assert f"the last time version {as_number(valkey.zscore('index:t', 't:x')):.0f}" in logged
    assert "0 keys written" not in logged


@pytest.mark.parametrize("cached", [1_795_186_800_000, 4_102_444_800_000], ids=["past", "future"])
def test_a_result_that_was_cached_by_a_time_is_replaced_by_what_is_read_now(
    valkey: Valkey, figure: Callable[[int], None], cached: int
) -> None:
    # As it was stored before; of the future, if a clock was ahead.
    put_legacy(valkey, cached, "t:x", "t:gone")
    for number in (1, 2):
        figure(number)
        done = run_task(to_hashes(FIGURE))
        assert (done["keys_written"], done["superseded"]) == (1, False)
        assert hashes(valkey, "t:*") == {"t:x": {"name": "x", "number": str(number)}}


def test_the_workers_clock_orders_nothing(valkey: Valkey, figure: Callable[[int], None]) -> None:
    for number, year in enumerate((2026, 2030, 1971, 2026)):
        figure(number)
        run_task(to_hashes(FIGURE, clock=lambda year=year: datetime(year, 1, 1, tzinfo=UTC)))
        assert hashes(valkey, "t:*")["t:x"]["number"] == str(number)


class TestVersionField:
    """A column that orders results, for those who name one."""

    RESULT = "SELECT 'x' AS name, toDateTime64('{}', 3, 'UTC') AS at"
    NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def run(self, at: str, *, now: datetime = NOW) -> Any:
        return run_task(to_hashes(self.RESULT.format(at), version_field="at", clock=lambda: now))

    def test_a_time_of_the_future_is_refused_before_it_locks_the_group(self, valkey: Valkey) -> None:
        with pytest.raises(AirflowFailException, match=r"column at .*index:t.* 2026-11-21T12:02:00\+00:00 lies in the"):
            self.run("2026-11-21 12:02:00")
        assert valkey.keys() == []
        # Two clocks are never quite the same.
        assert self.run("2026-11-21 12:00:30")["keys_written"] == 1

    def test_a_cached_time_of_the_future_is_an_error_whose_advice_helps(self, valkey: Valkey) -> None:
        self.run("2026-12-24 00:00:00", now=datetime(2026, 12, 24, tzinfo=UTC))
        with pytest.raises(
            AirflowFailException, match=r"index:t: the version 1798070400000000000 .* future"
        ) as refused:
            self.run("2026-11-21 11:00:00")
        assert hashes(valkey, "t:*")["t:x"]["at"].startswith("2026-12-24")
        command = re.search(r"valkey-cli (.*), then clear", str(refused.value))
        assert command is not None
        valkey.execute_command(*shlex.split(command[1]))
        assert self.run("2026-11-21 11:00:00")["keys_written"] == 1
        assert hashes(valkey, "t:*")["t:x"]["at"].startswith("2026-11-21T11")

    def test_an_empty_result_is_kept_out_by_the_future_with_the_same_error(self, valkey: Valkey) -> None:
        self.run("2026-12-24 00:00:00", now=datetime(2026, 12, 24, tzinfo=UTC))
        nothing = f"SELECT * FROM ({self.RESULT.format('2026-11-21 11:00:00')}) WHERE name = 'nobody'"
        with pytest.raises(AirflowFailException, match="valkey-cli"):
            run_task(to_hashes(nothing, version_field="at", version="2026-11-21 11:00:00", clock=lambda: self.NOW))

    def test_whole_numbers_are_no_times(self, valkey: Valkey) -> None:
        numbered = "SELECT 'x' AS name, toUInt64({}) AS revision"
        for revision, superseded in ((20_261_121_000_000, False), (20_261_120_000_000, True)):
            done = run_task(to_hashes(numbered.format(revision), version_field="revision", clock=lambda: self.NOW))
            assert done["superseded"] is superseded

    def test_a_text_orders_nothing(self, valkey: Valkey) -> None:
        with pytest.raises(ValueError, match="version_field: column name has the type String"):
            run_task(to_hashes("SELECT 'x' AS name", version_field="name"))


def test_an_older_result_does_not_replace_a_newer_one(valkey: Valkey) -> None:
    result = "SELECT 'x' AS name, toDateTime64('2026-11-21 00:00:0{}', 3, 'UTC') AS at"
    run_task(to_hashes(result.format(2), version_field="at"))
    assert run_task(to_hashes(result.format(1), version_field="at"))["superseded"] is True
    assert hashes(valkey, "t:*")["t:x"]["at"] == "2026-11-21T00:00:02.000000Z"


def test_prefix_and_fields_are_options(valkey: Valkey) -> None:
    run_task(to_hashes("SELECT 'x' AS name, 1 AS number", key_prefix="{p}:", fields=["number"]))
    assert hashes(valkey) == {"{p}:t:x": {"number": "1"}}


def test_keys_of_another_type_are_replaced_named_in_one_line_and_counted(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("t:a\nforged line", "index:t"):
        valkey.set(key, "x")
    sql = "SELECT arrayJoin(['a\\nforged line', 'b']) AS name, 1 AS number"
    done = run_task(to_hashes(sql, foreign_keys="replace"))
    assert (done["keys_written"], done["keys_replaced"]) == (2, 2)
    assert hashes(valkey, "t:*").keys() == {"t:a\nforged line", "t:b"}
    assert r"2 keys held another type and were replaced: index:t, t:a\nforged line" in capsys.readouterr().out


def test_an_empty_result_is_skipped_only_when_asked_and_only_if_nothing_had_to_be_removed(valkey: Valkey) -> None:
    nothing = "SELECT 'x' AS name, 1 AS number WHERE 0"
    something = "SELECT 'x' AS name, 1 AS number"
    run_task(to_hashes(something))
    assert run_task(to_hashes(nothing, skip_empty="True"))["keys_removed"] == 1
    assert hashes(valkey) == {}
    with pytest.raises(AirflowSkipException, match="index:t: the result has no row"):
        run_task(to_hashes(nothing, skip_empty="True"))
    assert run_task(to_hashes(nothing))["keys_written"] == 0
    assert run_task(to_hashes(something, skip_empty=True))["keys_written"] == 1


MANY = "SELECT concat('n', leftPad(toString(number), 6, '0')) AS name, number FROM numbers({}) ORDER BY number"


@pytest.mark.parametrize(
    ("log_values", "logged_keys"),
    [
        (True, 1000),
        ("true", 1000),
        ("True ", 1000),
        ("yes", 1000),
        (False, 0),
        ("false", 0),
        ("0", 0),
        (0, 0),
        ("all", 1203),
        ("ALL", 1203),
        (7, 7),
        ("7", 7),
        ("1", 1),
        (" 1202 ", 1202),
        (5000, 1203),
    ],
)
def test_as_many_keys_are_logged_as_asked_and_then_a_count(
    valkey: Valkey, capsys: pytest.CaptureFixture[str], log_values: Any, logged_keys: int
) -> None:
    run_task(to_hashes(MANY.format(1203), log_values=log_values))
    lines = capsys.readouterr().out.splitlines()
    logged = [line for line in lines if "t:n" in line]
    assert len(logged) == logged_keys
    for number in (0, logged_keys - 1) if logged else ():
        assert f"t:n{number:06} {{'name': 'n{number:06}', 'number': '{number}'}}" in logged[number]
    rest = [line for line in lines if "more keys" in line]
    if 0 < logged_keys < 1203:
        assert f"... and {1203 - logged_keys} more keys" in rest[0]
    else:
        assert rest == []
    assert any("1203 keys written, 0 removed" in line for line in lines)


@pytest.mark.parametrize("log_values", ["none", "-1", -1, "1.5", "", "every", None, "１"])
def test_a_number_of_logged_keys_that_is_none_is_refused_before_anything_is_asked(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, log_values: Any
) -> None:
    between = Between(monkeypatch)
    with pytest.raises(ValueError, match=r"log_values: .* true, false, all or a whole number"):
        run_task(to_hashes(log_values=log_values))
    assert between.queries == 0


def test_a_log_of_large_values_stays_below_a_megabyte_unless_all_are_asked_for(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    large = "SELECT concat('n', toString(number)) AS name, repeat('한', 2000) AS text FROM numbers(1000)"
    run_task(to_hashes(large))
    capsys.readouterr()
    run_task(to_hashes(large, log_values=True))
    out = capsys.readouterr().out
    logged = [line for line in out.splitlines() if "t:n" in line]
    # 700 kB of them; a value has 6,000 bytes, its line some more.
    assert 110 <= len(logged) <= 700_000 / 6000
    assert len(out.encode()) < 1_000_000
    assert f"... and {1000 - len(logged)} more keys" in out
    run_task(to_hashes(large, log_values="all"))
    assert len([line for line in capsys.readouterr().out.splitlines() if "t:n" in line]) == 1000


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b"])
def test_a_name_cannot_forge_a_line_of_the_log(valkey: Valkey, capsys: pytest.CaptureFixture[str], name: str) -> None:
    sql = "SELECT unhex(%(name)s) AS name, 1 AS number"
    run_task(to_hashes(sql, parameters={"name": name.encode().hex()}, log_values="all"))
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "t:a" in line]
    escaped = name.encode("unicode_escape").decode()
    assert f"t:{escaped} {{'name': '{escaped}', 'number': '1'}}" in line
    # The key itself is as it was.
    assert hashes(valkey, "t:*").keys() == {f"t:{name}"}


def test_a_name_that_is_not_utf8_is_refused_naming_its_column(valkey: Valkey) -> None:
    with pytest.raises(ValueError, match=r"column name: b'bad.xff.xfe' is not text: write toValidUTF8"):
        run_task(to_hashes("SELECT unhex('626164fffe') AS name, 1 AS number"))
    assert valkey.keys() == []


def test_logs_every_key_and_value_only_when_asked_and_the_count_always(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    run_task(to_hashes("SELECT 'x' AS name, 17 AS number", log_values=True))
    logged = capsys.readouterr().out
    assert "t:x {'name': 'x', 'number': '17'}" in logged
    assert "1 keys written, 0 removed" in logged
    run_task(to_hashes("SELECT 'x' AS name, 17 AS number", log_values="false"))
    logged = capsys.readouterr().out
    assert "t:x" not in logged
    assert "1 keys written, 0 removed" in logged


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"key_template": "t:{nobody}"}, "no column nobody; it has name, number"),
        ({"fields": ["number", "nobody"]}, "no column nobody"),
        ({"version_field": "nobody"}, "no column nobody"),
        ({"key_template": "t:{number}", "sql": "SELECT NULL AS number"}, "number is part of the key"),
        ({"key_template": "t:{number}", "sql": "SELECT arrayJoin([1, 1]) AS number"}, "more than one row"),
        ({"expire": 0}, "expire"),
        ({"expire": "soon"}, "expire"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(valkey: Valkey, options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        run_task(to_hashes(**{"sql": "SELECT 'x' AS name, 17 AS number", **options}))
    assert valkey.keys() == []


def test_a_wrong_password_says_so_without_showing_it(connections: pytest.MonkeyPatch, valkey: Valkey) -> None:
    valkey.config_set("requirepass", "right")
    try:
        connections.setenv("VALKEY_PASSWORD", "wrong-password")
        with pytest.raises(Exception, match=r"invalid username-password|WRONGPASS") as failed:
            run_task(to_hashes())
        assert "wrong-password" not in str(failed.value)
    finally:
        valkey.config_set("requirepass", "")


ONE = "SELECT 'x' AS name, 1 AS number"
NOTHING = "SELECT 'x' AS name, 1 AS number WHERE 0"


class TestGroups:
    """A group's owner, versions, foreign keys and size, as a DAG's author meets them."""

    def test_another_task_is_refused_before_it_computes_anything(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_task(to_hashes())
        before = hashes(valkey)
        between = Between(monkeypatch)
        other = to_hashes(ONE)
        other.task_id = "another"
        with pytest.raises(AirflowFailException, match=r"index:t: the group belongs to .*\.cache, and .*\.another may"):
            run_task(other)
        assert between.queries == 0
        assert hashes(valkey) == before

    def test_a_mapped_task_needs_an_index_for_each_of_its_instances(self, valkey: Valkey) -> None:
        def run(index: int, **options: Any) -> Any:
            sql = f"SELECT 'r{index}' AS name, 1 AS number"
            return run_task(to_hashes(sql, **options), map_index=index)

        run(0)
        with pytest.raises(AirflowFailException, match=r"with map index 0, and .* with map index 1 may not write it"):
            run(1)
        assert hashes(valkey, "t:*").keys() == {"t:r0"}
        valkey.flushall()
        for index in range(3):
            run(index, index_key=f"index:{index}")
        assert hashes(valkey, "t:*").keys() == {"t:r0", "t:r1", "t:r2"}

    def test_literal_braces_are_doubled_and_jinja_reads_them_first(self, valkey: Valkey) -> None:
        run_task(to_hashes(ONE, key_template="{% raw %}{{tag}}{% endraw %}:{name}"))
        assert hashes(valkey).keys() == {"{tag}:x"}

    def test_several_tasks_write_one_group_in_turn_if_they_say_so(self, valkey: Valkey) -> None:
        for map_index in (0, 1):
            run_task(to_hashes(ONE, group_owner="{{ 'figures' }}"), map_index=map_index)
        assert valkey.hget("index:t:group", "owner") == "figures"
        # What Airflow calls a task's owner is a person.
        assert to_hashes(ONE, owner="data-team").group_owner is None

    @pytest.mark.parametrize("put", ["string", "leaderboard"])
    def test_an_index_of_somebody_else_is_refused_before_the_query_and_stays(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, put: str
    ) -> None:
        if put == "string":
            valkey.set("index:t", "theirs")
        else:
            valkey.zadd("index:t", {"t:x": 17, "player1": 20})
        valkey.hset("t:y", "a", "b")
        before = {key: valkey.dump(key) for key in valkey.scan_iter()}
        between = Between(monkeypatch)
        with pytest.raises(AirflowFailException, match="index:t is where the group's index is kept, but it holds a s"):
            run_task(to_hashes(ONE))
        assert between.queries == 0
        assert {key: valkey.dump(key) for key in valkey.scan_iter()} == before

    def test_an_index_that_is_a_key_is_refused(self, valkey: Valkey) -> None:
        with pytest.raises(ValueError, match="key 't:x' is one that the group itself is kept by"):
            run_task(to_hashes(ONE, index_key="t:x"))
        assert valkey.keys() == []

    def test_a_template_that_names_the_hour_and_an_index_that_does_not_keep_the_former_hour(
        self, valkey: Valkey
    ) -> None:
        run_task(to_hashes(ONE, key_template="t:{{ params.hour }}:{name}"), params={"hour": "04"})
        with pytest.raises(AirflowFailException, match="cannot have made, such as t:04:x"):
            run_task(to_hashes(ONE, key_template="t:{{ params.hour }}:{name}"), params={"hour": "05"})
        assert hashes(valkey, "t:*").keys() == {"t:04:x"}

    def test_a_run_that_removes_all_that_was_there_says_so(
        self, valkey: Valkey, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for hour in ("04", "05"):
            assert "into index_key" not in capsys.readouterr().out
            run_task(to_hashes(f"SELECT '{hour}' AS hour, 'x' AS name, 1 AS number", key_template="t:{hour}:{name}"))
        assert "put what tells the runs apart, such as the hour, into index_key" in capsys.readouterr().out

    def test_many_keys_are_refused_with_advice_that_helps(self, valkey: Valkey) -> None:
        many = "SELECT toString(number) AS name, number FROM numbers(3001)"
        with pytest.raises(AirflowFailException, match=r"3001 keys .* too many for one step"):
            run_task(to_hashes(many))
        assert valkey.keys() == []
        assert run_task(to_hashes(many, large_groups="slices"))["keys_written"] == 3001
        assert run_task(to_hashes(many, layout="generations", index_key="index:u"))["keys_written"] == 3001
        assert GroupReader(valkey, "index:u").read("t:3000") == {"name": "3000", "number": "3000"}
        assert hashes(valkey, "t:3000") == {"t:3000": {"name": "3000", "number": "3000"}}

    @pytest.mark.parametrize("name", ["layout", "large_groups", "foreign_keys"])
    def test_a_word_that_is_none_is_refused_where_the_dag_is_parsed(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name}: 'sometimes' is not one of"):
            to_hashes(ONE, **{name: "sometimes"})

    @pytest.mark.parametrize(
        "expire",
        [True, "True", 1.5, 60.0, "1.5", None, "None", 10**12, str(10**12), 1_795_186_800, -1, 0, "", "１２", "1_000",
         timedelta(seconds=1.5), timedelta(0), timedelta(days=-1), timedelta(days=20_000), [60]],
    )  # fmt: skip
    def test_a_time_to_live_that_is_none_is_refused_before_anything_is_asked(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, expire: Any
    ) -> None:
        between = Between(monkeypatch)
        with pytest.raises(ValueError, match="expire: "):
            run_task(to_hashes(ONE, expire=expire))
        assert between.queries == 0
        assert valkey.keys() == []

    @pytest.mark.parametrize("expire", [60, "60", " 60 ", timedelta(minutes=1), "{{ 60 }}"])
    def test_a_time_to_live_has_many_spellings(self, valkey: Valkey, expire: Any) -> None:
        run_task(to_hashes(ONE, expire=expire))
        assert 0 < valkey.ttl("t:x") <= 60

    def test_rows_without_any_value_are_left_out_counted_and_named(
        self, valkey: Valkey, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sql = "SELECT toString(number) AS name, if(number % 2, NULL, number) AS value FROM numbers(5)"
        done = run_task(to_hashes(sql, fields=["value"]))
        assert (done["keys_written"], done["keys_left_out"]) == (3, 2)
        assert hashes(valkey, "t:*").keys() == {"t:0", "t:2", "t:4"}
        assert "2 rows have no value in any field, so there is no key for them: t:1, t:3" in capsys.readouterr().out


class TestVersionParameter:
    NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def run(self, sql: str, **options: Any) -> Any:
        return run_task(to_hashes(sql, clock=lambda: self.NOW, **options))

    def numbered(self, revision: int) -> str:
        return f"SELECT 'x' AS name, toUInt64({revision}) AS revision"

    def test_an_empty_result_without_a_version_fails_with_advice(self, valkey: Valkey) -> None:
        empty = f"{self.numbered(11)} WHERE 0"
        for _ in range(2):
            with pytest.raises(AirflowFailException, match=r"no value of revision, .* Say version= for such results"):
                self.run(empty, version_field="revision")
            self.run(self.numbered(10), version_field="revision")
        assert hashes(valkey, "t:*").keys() == {"t:x"}

    def test_an_older_result_never_wins_against_a_newer_one_whichever_is_empty(self, valkey: Valkey) -> None:
        def run(revision: int, *, empty: bool = False) -> bool:
            sql = self.numbered(revision) + (" WHERE 0" if empty else "")
            options = {"version": f"{{{{ {revision} }}}}"} if empty else {}
            return bool(self.run(sql, version_field="revision", **options)["superseded"])

        assert run(10) is False
        assert run(9, empty=True) is True
        assert hashes(valkey, "t:*").keys() == {"t:x"}
        assert run(11, empty=True) is False
        assert run(9) is True
        assert run(10) is True
        assert hashes(valkey) == {}
        assert run(12) is False

    @pytest.mark.parametrize(
        ("older", "newer"),
        [
            ("2026-11-21T10:00:00+00:00", "2026-11-21 19:00:00.000001+09:00"),
            ("2026-11-20", "2026-11-21"),
            ("9", "10"),
            (2**70, 2**70 + 1),
            (datetime(2026, 11, 21, 9, tzinfo=UTC), datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ],
    )
    def test_a_version_orders_all_results_where_no_column_does(self, valkey: Valkey, older: Any, newer: Any) -> None:
        assert self.run("SELECT 'x' AS name, 2 AS number", version=newer)["superseded"] is False
        for sql in (ONE, NOTHING):
            assert self.run(sql, version=older)["superseded"] is True
        assert hashes(valkey, "t:*")["t:x"]["number"] == "2"
        assert self.run(ONE, version=newer)["superseded"] is False

    @pytest.mark.parametrize("version", ["", "soon", "1.5", 1.5, True, "2026-13-01", [1]])
    def test_a_version_that_is_none_is_refused(self, valkey: Valkey, version: Any) -> None:
        with pytest.raises(ValueError, match=r"version: .* is neither a time, a date nor a whole number"):
            self.run(ONE, version=version)
        assert valkey.keys() == []

    def test_dates_order_results_and_those_of_the_future_are_refused(self, valkey: Valkey) -> None:
        dated = "SELECT 'x' AS name, toDate('{}') AS day"
        assert self.run(dated.format("2026-11-21"), version_field="day")["superseded"] is False
        assert self.run(dated.format("2026-11-20"), version_field="day")["superseded"] is True
        # It has begun where clocks are ahead most.
        self.NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
        assert self.run(dated.format("2026-11-22"), version_field="day")["superseded"] is False
        with pytest.raises(AirflowFailException, match="newest value 2026-11-23 lies in the future"):
            self.run(dated.format("2026-11-23"), version_field="day")

    def test_another_unit_is_an_error_that_names_both_and_the_command_that_resets(self, valkey: Valkey) -> None:
        self.run(ONE)
        with pytest.raises(AirflowFailException, match=r"order of reading so far .* by whole number") as refused:
            self.run(self.numbered(7), version_field="revision")
        valkey.execute_command(*shlex.split(str(refused.value).partition("valkey-cli ")[2]))
        assert self.run(self.numbered(7), version_field="revision")["superseded"] is False
