"""The Valkey hash writer against real servers, and the how-to's example."""

from __future__ import annotations

import importlib.util
import re
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.valkey.hashes import HashPublisher
from tests.conftest import ROOT
from tests.support import hashes, run_dag, run_task

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
    publisher = HashPublisher(valkey, "index:t")

    def other_program() -> None:
        publisher.publish(["t:x"], ["number"], [["99"]], version=publisher.state(), expire_seconds=60, token="other")

    Between(monkeypatch, *[other_program] * 50)
    done = run_task(to_hashes(FIGURE))
    assert (done["superseded"], done["keys_written"]) == (True, 0)
    assert hashes(valkey, "t:*") == {"t:x": {"number": "99"}}
    logged = capsys.readouterr().out
    assert f"the last time version {int(valkey.zscore('index:t', 't:x'))}" in logged
    assert "0 keys written" not in logged


@pytest.mark.parametrize("cached", [1_795_186_800_000, 4_102_444_800_000], ids=["past", "future"])
def test_a_result_that_was_cached_by_a_time_is_replaced_by_what_is_read_now(
    valkey: Valkey, figure: Callable[[int], None], cached: int
) -> None:
    # As it was stored before; of the future, if a clock was ahead.
    HashPublisher(valkey, "index:t").publish(
        ["t:x", "t:gone"], ["number"], [["0", "0"]], version=cached, expire_seconds=60, token="old"
    )
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
        with pytest.raises(AirflowFailException, match=r"index:t: the version 1798070400000 .* future") as refused:
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
            run_task(to_hashes(nothing, version_field="at", clock=lambda: self.NOW))

    def test_whole_numbers_are_no_times(self, valkey: Valkey) -> None:
        numbered = "SELECT 'x' AS name, toUInt64({}) AS revision"
        for revision, superseded in ((20_261_121_000_000, False), (20_261_120_000_000, True)):
            done = run_task(to_hashes(numbered.format(revision), version_field="revision", clock=lambda: self.NOW))
            assert done["superseded"] is superseded

    def test_a_text_orders_nothing(self, valkey: Valkey) -> None:
        with pytest.raises(ValueError, match="column name: 'x' is neither a time nor a whole number"):
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
    done = run_task(to_hashes("SELECT arrayJoin(['a\\nforged line', 'b']) AS name, 1 AS number"))
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


class TestHowTo:
    """The example of docs/how-to-operators.md, which is docs/examples/country_sales.py."""

    EXAMPLE = ROOT / "docs" / "examples" / "country_sales.py"

    def test_the_page_shows_the_example_as_it_is(self) -> None:
        page = (ROOT / "docs" / "how-to-operators.md").read_text(encoding="utf-8")
        assert f"```python\n{self.EXAMPLE.read_text(encoding='utf-8')}```" in page

    def test_the_example_does_what_the_page_says(self, clickhouse: clickhouse_driver.Client, valkey: Valkey) -> None:
        spec = importlib.util.spec_from_file_location("country_sales", self.EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        clickhouse.execute(
            "CREATE TABLE sales (sold_at DateTime('UTC'), country String, amount Decimal(18, 2))"
            " ENGINE = MergeTree ORDER BY sold_at"
        )
        clickhouse.execute(
            "CREATE TABLE country_sales (day Date, country String, orders UInt64, revenue Float64)"
            " ENGINE = MergeTree PARTITION BY day ORDER BY country"
        )
        clickhouse.execute(
            "INSERT INTO sales SELECT toDateTime('2026-11-20 23:00:00', 'UTC') + number * 600,"
            " ['KR', 'US'][number % 2 + 1], 1.25 FROM numbers(12)"
        )
        for _ in range(2):
            run_dag(example.dag, data_interval_start=datetime(2026, 11, 20, tzinfo=UTC))
        assert hashes(valkey) == {
            "sales:KR": {"orders": "3", "revenue": "3.75"},
            "sales:US": {"orders": "3", "revenue": "3.75"},
        }
