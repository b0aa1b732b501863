"""Which partition the replace-partition operator swaps, however it is spelled, and what it refuses to swap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from tests.support import run_task, task_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import clickhouse_driver

pytestmark = pytest.mark.usefixtures("connections")

# Rows are told apart by who wrote them.
FORMER, COMPUTED = 1, 2


def make_tables(
    clickhouse: clickhouse_driver.Client, columns: str, partition_by: str, *, former: str = "", computed: str = ""
) -> None:
    """Make ``target``, partitioned, with former rows, and ``computed``, from which the operator's SQL takes its rows.

    :param columns: of both tables; ``target`` has ``writer`` besides.
    :param former: rows of ``target``, as in SQL after VALUES, without the outer brackets where there is one column.
    :param computed: rows of ``computed``.
    """
    clickhouse.execute("DROP TABLE IF EXISTS target")
    clickhouse.execute("DROP TABLE IF EXISTS computed")
    clickhouse.execute(
        f"CREATE TABLE target ({columns}, writer UInt8) ENGINE = MergeTree PARTITION BY {partition_by} ORDER BY writer"
    )
    clickhouse.execute(f"CREATE TABLE computed ({columns}) ENGINE = Memory")
    structure = quoted(columns)
    if former:
        clickhouse.execute(f"INSERT INTO target SELECT *, {FORMER} FROM values({structure}, {former})")
    if computed:
        clickhouse.execute(f"INSERT INTO computed SELECT * FROM values({structure}, {computed})")


def replace(partition: Any, **options: Any) -> Any:
    """Run a task that puts the rows of ``computed`` into a partition of ``target``."""
    settings = {"sql": f"INSERT INTO {{{{ stage_table }}}} SELECT *, {COMPUTED} FROM computed", **options}
    return run_task(
        ClickHouseReplacePartitionOperator(task_id="roll_up", table="target", partition=partition, **settings)
    )


def content(clickhouse: clickhouse_driver.Client) -> list[tuple[str, int]]:
    return sorted(clickhouse.execute("SELECT toString(tuple(* EXCEPT writer)), writer FROM target"))


SEOUL = ZoneInfo("Asia/Seoul")
# Columns, key, SQL of the value that is computed and of one that is not to be touched; then ways to spell the first.
SPELLINGS: Mapping[str, tuple[str, str, str, str, list[Any]]] = {
    "date": (
        "d Date", "d", "'2026-11-05'", "'2026-11-04'",
        ["2026-11-05", "2026-11-5", "20261105", 20261105, date(2026, 11, 5), "2026-11-05T00:00:00+00:00",
         "2026-11-05 00:00:00", "20261105T000000", datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 5),
         datetime(2026, 11, 5, 9, tzinfo=SEOUL), ("2026-11-05",), " 2026-11-05\n"],
    ),
    "date32": ("d Date32", "d", "'1931-02-03'", "'2031-02-03'", ["1931-02-03", "19310203", date(1931, 2, 3)]),
    "datetime with a zone": (
        "t DateTime('Asia/Seoul')", "t", "'2026-11-05 03:00:00'", "'2026-11-04 18:00:00'",
        ["2026-11-05 03:00:00", "2026-11-05T03:00", "2026-11-04T18:00:00Z", "2026-11-04T18:00:00.000+00:00",
         "20261105T030000", "1793815200", 1793815200, datetime(2026, 11, 5, 3, tzinfo=SEOUL),
         datetime(2026, 11, 4, 18, tzinfo=UTC), datetime(2026, 11, 5, 3), "2026-11-04 18:00:00 +0000"],
    ),
    "datetime without a zone": (
        "t DateTime", "t", "toDateTime('2026-11-05 03:00:00', 'UTC')", "toDateTime('2026-11-05 12:00:00', 'UTC')",
        ["2026-11-05 03:00:00", "2026-11-05T12:00:00+09:00", datetime(2026, 11, 5, 3, tzinfo=UTC)],
    ),
    "hour": (
        "t DateTime('UTC')", "toStartOfHour(t)", "'2026-11-05 03:17:00'", "'2026-11-05 04:00:00'",
        ["2026-11-05 03:00:00", "2026-11-05T03:00:00Z", "2026-11-05T12:00:00+0900"],
    ),
    "datetime64": (
        "t DateTime64(3, 'UTC')", "t", "'2026-11-05 03:00:00.250'", "'2026-11-05 03:00:00.251'",
        ["2026-11-05 03:00:00.25", "2026-11-05T03:00:00.250000Z", datetime(2026, 11, 5, 3, 0, 0, 250_000, tzinfo=UTC)],
    ),
    "nanoseconds": (
        "t DateTime64(9, 'UTC')", "t", "'2026-11-05 03:00:00.123456789'", "'2026-11-05 03:00:00.123456788'",
        ["2026-11-05 03:00:00.123456789", "2026-11-05T03:00:00.123456789Z"],
    ),
    "month": ("d Date", "toYYYYMM(d)", "'2026-11-05'", "'2026-10-05'", ["202611", 202611, "+202611", "0202611"]),
    "week": ("d Date", "toMonday(d)", "'2026-11-05'", "'2026-11-09'", ["2026-11-02", date(2026, 11, 2), "20261102"]),
    "negative": ("n Int16", "n", "-7", "7", ["-7", -7, " -7 "]),
    "big": ("n UInt256", "n", f"'{2**200}'", "1", [2**200, str(2**200)]),
    "text": ("s String", "s", "' it\\'s \\\\n %(x)s % {{'", "'it'", [" it's \\n %(x)s % {{"]),
    "text that looks like a number": ("s String", "s", "'007'", "'7'", ["007"]),
    "empty text": ("s String", "s", "''", "' '", [""]),
    "low cardinality": ("s LowCardinality(String)", "s", "'한국'", "'日本'", ["한국"]),
    "fixed string": ("s FixedString(4)", "s", "'kr'", "'krx'", ["kr"]),
    "enum": ("e Enum8('a' = 1, 'b' = 2)", "e", "'b'", "'a'", ["b"]),
    "uuid": (
        "u UUID", "u", "'61f0c404-5cb3-11e7-907b-a6006ad3dba0'", "'61f0c404-5cb3-11e7-907b-a6006ad3dba1'",
        ["61F0C404-5CB3-11E7-907B-A6006AD3DBA0", UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0")],
    ),
    "bool": ("b Bool", "b", "true", "false", ["true", "True", True, 1, "1"]),
    "decimal": ("n Decimal(10, 2)", "n", "1.5", "1.51", ["1.5", "1.50", Decimal("1.500")]),
    "ip": ("a IPv4", "a", "'10.0.0.1'", "'10.0.0.2'", ["10.0.0.1"]),
    "tuple": (
        "d Date, s String", "(d, s)", "('2026-11-05', 'k\\'r')", "('2026-11-05', 'us')",
        [("2026-11-05", "k'r"), (date(2026, 11, 5), "k'r"), ("20261105", "k'r"), "('2026-11-05', 'k\\'r')",
         '("2026-11-05", "k\'r")'],
    ),
    "tuple of a number and an hour": (
        "n UInt8, t DateTime('UTC')", "(n, toStartOfHour(t))",
        "(7, '2026-11-05 03:10:00')", "(7, '2026-11-05 04:10:00')",
        [(7, "2026-11-05T03:00:00Z"), ("7", datetime(2026, 11, 5, 3, tzinfo=UTC)), "(7, '2026-11-05 03:00:00')"],
    ),
    "tuple of two tuples": (
        "a UInt8, b UInt8, c UInt8", "(a, b, c)", "(1, 2, 3)", "(1, 2, 4)", [(1, 2, 3), "(1, 2, 3)", ("1", "2", "3")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPELLINGS)
def test_every_spelling_swaps_the_partition_that_is_meant(clickhouse: clickhouse_driver.Client, kind: str) -> None:
    columns, key, value, other, spellings = SPELLINGS[kind]
    make_tables(clickhouse, columns, key, former=other, computed=value)
    untouched = content(clickhouse)
    computed = clickhouse.execute("SELECT toString(tuple(*)) FROM computed")[0][0]
    for spelling in spellings:
        done = replace(without_jinja(spelling))
        assert (spelling, content(clickhouse)) == (spelling, sorted([*untouched, (computed, COMPUTED)]))
        assert (done["rows"], done["other_rows"]) == (1, 0)
        # With nothing for it, the same partition is emptied if that is allowed.
        replace(without_jinja(spelling), sql="SELECT 1", allow_empty=True)
        assert (spelling, content(clickhouse)) == (spelling, untouched)


def without_jinja(spelling: Any) -> Any:
    """Keep Jinja away from a text that has braces."""
    if isinstance(spelling, tuple):
        return tuple(map(without_jinja, spelling))
    return spelling.replace("{{", "{{ '{{' }}") if isinstance(spelling, str) else spelling


WRONG: Mapping[str, tuple[str, str, str, list[Any]]] = {
    "date": (
        "d Date", "d", "'2026-11-05'",
        ["2026-11", "2026", "today", "", "05/11/2026", "2026-02-30", "2026-13-01", "2500-01-01", "2026-11-05T03:00:00",
         "2026-11-05T00:00:00+09:00", "2026-11-05 25:00:00", "1793815200", 1.5, None, ["2026-11-05", None],
         ("2026-11-05", "kr"), (), b"2026-11-05", timedelta(1), {"d": "2026-11-05"}],
    ),
    "datetime": (
        "t DateTime('UTC')", "t", "'2026-11-05 03:00:00'",
        ["2026-11-05 03:00:00.5", "03:00:00", "2026-11-05T03", "2026-11-05 03:60:00", "2199-01-01", "yesterday"],
    ),
    "number": ("n UInt8", "n", "44", ["300", 300, "-1", "1.0", "4 4", "0x2c", "x"]),
    "decimal": ("n Decimal(10, 2)", "n", "1.5", ["1.555", "x"]),
    "enum": ("e Enum8('a' = 1)", "e", "'a'", ["b"]),
    "fixed string": ("s FixedString(2)", "s", "'kr'", ["krx"]),
    "tuple": (
        "d Date, s String", "(d, s)", "('2026-11-05', 'kr')",
        ["2026-11-05", "('2026-11-05')", "('2026-11-05', 'kr', 1)", ("2026-11-05",), "('2026-11-05', kr)", "1 + 1",
         "('2026-11-05', 1.5)", "__import__('os')"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_value_that_is_none_is_refused_before_anything_is_computed(
    clickhouse: clickhouse_driver.Client, kind: str
) -> None:
    columns, key, value, spellings = WRONG[kind]
    make_tables(clickhouse, columns, key, former=value, computed=value)
    before = content(clickhouse)
    for spelling in spellings:
        for options in (
            {},
            {"allow_empty": True, "other_partitions": "drop"},
            {"sql": "SELECT 1", "allow_empty": True},
        ):
            # The SQL would tell by another message that it ran.
            sql = {"sql": "SELECT throwIf(1, 'it ran')", **options}
            with pytest.raises(AirflowException, match=r"partition|which partition") as refused:
                replace(spelling, **sql)
            assert "it ran" not in str(refused.value)
            assert (spelling, content(clickhouse)) == (spelling, before)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE target (d Date) ENGINE = MergeTree ORDER BY d", "it is not partitioned"),
        ("CREATE TABLE target (d Date) ENGINE = MergeTree PARTITION BY tuple() ORDER BY d", "it is not partitioned"),
        ("CREATE TABLE target (d Date) ENGINE = Log", "its engine is Log"),
        ("CREATE TABLE target (d Date) ENGINE = Memory", "its engine is Memory"),
        ("CREATE VIEW target AS SELECT today() AS d", "its engine is View"),
        ("SELECT 1", "there is no such table"),
    ],
)
def test_a_table_without_partitions_is_refused_before_anything_is_computed(
    clickhouse: clickhouse_driver.Client, statement: str, words: str
) -> None:
    clickhouse.execute(statement)
    with pytest.raises(AirflowFailException, match=f"target: {words}"):
        replace("2026-11-05", sql="SELECT throwIf(1, 'it ran')")


class TestRowsElsewhere:
    @pytest.fixture(autouse=True)
    def _tables(self, clickhouse: clickhouse_driver.Client) -> None:
        make_tables(
            clickhouse,
            "d Date, s String",
            "d",
            former="('2026-11-04', 'a'), ('2026-11-05', 'a')",
            computed="('2026-11-05', 'b'), ('2026-11-06', 'b'), ('2026-11-07', 'b'), ('2026-11-07', 'c')",
        )

    def test_fail_the_task_and_leave_the_target_as_it_is(self, clickhouse: clickhouse_driver.Client) -> None:
        before = content(clickhouse)
        with pytest.raises(
            AirflowFailException,
            match=r"3 rows .* not named: 2026-11-06 \(1 rows\), 2026-11-07 \(2 rows\); named: 2026-",
        ):
            replace("2026-11-05")
        assert content(clickhouse) == before

    def test_are_counted_and_left_behind_if_that_is_said(self, clickhouse: clickhouse_driver.Client) -> None:
        done = replace("2026-11-05", other_partitions="{{ params.get('others', 'drop') }}")
        assert (done["rows"], done["other_rows"]) == (1, 3)
        assert content(clickhouse) == [("('2026-11-04','a')", FORMER), ("('2026-11-05','b')", COMPUTED)]

    def test_may_be_in_partitions_that_are_named_for_them(self, clickhouse: clickhouse_driver.Client) -> None:
        done = replace("2026-11-05", other_partitions=["20261106", date(2026, 11, 7)])
        assert (done["rows"], done["other_rows"]) == (1, 3)
        with pytest.raises(AirflowFailException, match=r"1 rows .* 2026-11-06 \(1 rows\)"):
            replace("2026-11-05", other_partitions=["2026-11-07"])

    @pytest.mark.parametrize("others", ["Drop", "", "2026-11-06"])
    def test_another_word_is_refused(self, others: str) -> None:
        with pytest.raises(AirflowFailException, match=f"other_partitions is '{others}'"):
            replace("2026-11-05", other_partitions=others)

    @pytest.mark.parametrize("allow_empty", [False, True])
    def test_never_empty_the_partition_that_was_named(
        self, clickhouse: clickhouse_driver.Client, allow_empty: bool
    ) -> None:
        before = content(clickhouse)
        with pytest.raises(AirflowFailException, match=r"no row for 2026-11-04 \(1 rows\), which are left as they are"):
            replace("2026-11-04", other_partitions="drop", allow_empty=allow_empty)
        assert content(clickhouse) == before

    @pytest.mark.parametrize("allow_empty", [False, True])
    def test_do_not_hinder_a_partition_that_is_empty_already(
        self, clickhouse: clickhouse_driver.Client, capsys: pytest.CaptureFixture[str], allow_empty: bool
    ) -> None:
        before = content(clickhouse)
        assert replace("2026-11-20", other_partitions="drop", allow_empty=allow_empty)["rows"] == 0
        assert content(clickhouse) == before
        # Nothing is dropped: another run may have filled it since this one looked.
        log = capsys.readouterr().out
        assert "count target's rows" in log
        assert "swap partition" not in log


class TestSeveral:
    @pytest.fixture(autouse=True)
    def _tables(self, clickhouse: clickhouse_driver.Client) -> None:
        make_tables(
            clickhouse,
            "h DateTime('UTC'), region String",
            "(h, region)",
            former="('2026-11-05 03:00:00', 'kr'), ('2026-11-05 03:00:00', 'us'), ('2026-11-05 04:00:00', 'kr')",
            computed="('2026-11-05 03:00:00', 'kr'), ('2026-11-05 03:00:00', 'us')",
        )

    def test_are_swapped_each(self, clickhouse: clickhouse_driver.Client) -> None:
        # Twice the same in another spelling is once.
        named = [("2026-11-05T03:00:00Z", "us"), "('2026-11-05 03:00:00', 'kr')", ("20261105T030000", "us")]
        done = replace(named)
        assert done["partition"] == ["('2026-11-05 03:00:00','us')", "('2026-11-05 03:00:00','kr')"]
        assert done["rows"] == 2
        assert content(clickhouse) == [
            ("('2026-11-05 03:00:00','kr')", COMPUTED),
            ("('2026-11-05 03:00:00','us')", COMPUTED),
            ("('2026-11-05 04:00:00','kr')", FORMER),
        ]

    def test_one_without_rows_is_emptied_only_if_that_is_allowed(self, clickhouse: clickhouse_driver.Client) -> None:
        before = content(clickhouse)
        named = [("2026-11-05 03:00:00", "kr"), ("2026-11-05 03:00:00", "us"), ("2026-11-05 04:00:00", "kr")]
        with pytest.raises(AirflowFailException, match=r"no row for \('2026-11-05 04:00:00','kr'\) \(1 rows\)"):
            replace(named)
        assert content(clickhouse) == before
        assert replace(named, allow_empty=True)["rows"] == 2
        assert [writer for _, writer in content(clickhouse)] == [COMPUTED, COMPUTED]

    def test_none_is_swapped_if_a_check_of_one_fails(self, clickhouse: clickhouse_driver.Client) -> None:
        before = content(clickhouse)
        named = [("2026-11-05 03:00:00", "kr"), ("2026-11-05 03:00:00", "us")]
        with pytest.raises(
            AirflowFailException, match=r"partition \('2026-11-05 03:00:00','us'\): a check fails.*only_kr"
        ):
            replace(named, checks={"only_kr": "max(region) = 'kr'"})
        assert content(clickhouse) == before

    def test_rows_that_fail_a_check_are_left_out_of_each(self, clickhouse: clickhouse_driver.Client) -> None:
        clickhouse.execute("INSERT INTO computed SELECT * FROM computed")
        clickhouse.execute("ALTER TABLE target ADD COLUMN number UInt8 DEFAULT 0")
        done = replace(
            [("2026-11-05 03:00:00", "kr"), ("2026-11-05 03:00:00", "us")],
            sql="INSERT INTO {{ stage_table }} SELECT *, 2, rowNumberInAllBlocks() FROM computed ORDER BY region",
            row_checks={"even": "number % 2 = 0"},
        )
        assert done["rows"] == 2
        assert done["warnings"] == {"rows that fail check even": 2}

    def test_the_source_without_rows_is_told_for_all(self, clickhouse: clickhouse_driver.Client) -> None:
        with pytest.raises(AirflowFailException, match="holds 1 rows already"):
            replace([("2026-11-05 03:00:00", "kr"), ("2026-11-06 03:00:00", "kr")], sql="SELECT 1")
        with pytest.raises(AirflowSkipException, match="nothing to do"):
            replace([("2026-11-06 03:00:00", "kr"), ("2026-11-06 03:00:00", "us")], sql="SELECT 1")

    def test_an_empty_list_is_refused(self) -> None:
        with pytest.raises(AirflowFailException, match="the list of partitions is empty"):
            replace([])


@pytest.mark.parametrize(
    ("columns", "key", "computed", "template"),
    [
        ("d Date", "d", "'2026-11-05'", "{{ '20261105' }}"),
        ("d Date", "toYYYYMM(d)", "'2026-11-05'", "{{ '202611' }}"),
        ("d Date, s String", "(d, s)", "('2026-11-05', 'kr')", "('{{ '2026-11-05' }}', 'kr')"),
        ("t DateTime('UTC')", "t", "'2026-11-05 03:00:00'", "{{ data_interval_start }}"),
        ("d Date", "d", "'2026-11-05'", "{{ ['2026-11-05'] }}"),
    ],
)
def test_native_types_of_a_rendered_template_are_taken(
    clickhouse: clickhouse_driver.Client, columns: str, key: str, computed: str, template: str
) -> None:
    make_tables(clickhouse, columns, key, computed=computed)
    with DAG("native", schedule=None, render_template_as_native_obj=True):
        task = ClickHouseReplacePartitionOperator(
            task_id="roll_up",
            table="target",
            partition=template,
            sql="INSERT INTO {{ stage_table }} SELECT *, 2 FROM computed",
        )
    done = run_task(task, data_interval_start=datetime(2026, 11, 5, 3, tzinfo=UTC))
    assert done["rows"] == 1
    assert [writer for _, writer in content(clickhouse)] == [COMPUTED]


def test_a_mapped_task_has_its_stage_table(clickhouse: clickhouse_driver.Client) -> None:
    make_tables(clickhouse, "d Date", "d", computed="'2026-11-05'")
    with DAG("mapped", schedule=None):
        mapped = ClickHouseReplacePartitionOperator.partial(
            task_id="group.roll_up", sql="INSERT INTO {{ stage_table }} SELECT *, 2 FROM computed"
        ).expand_kwargs([{"table": "target", "partition": "{{ '2026' }}-11-05"}])
    task = mapped.unmap({"table": "target", "partition": "{{ '2026' }}-11-05"})
    # As Airflow's mapped operator renders, which does not call the task's own render_template_fields.
    context = task_context(task, map_index=0)
    task._do_render_template_fields(task, mapped.template_fields, context, task.get_template_env(), set())
    assert task.execute(context)["rows"] == 1


@dataclass(frozen=True)
class Kind:
    """Values of one kind of partition key.

    :param columns: of the table.
    :param key: what it is partitioned by.
    :param values: makes values.
    :param sql: writes a value as a row in SQL.
    :param part: which values share a partition; computed here and not by ClickHouse.
    :param forms: ways to spell the partition of a value; wrong ones too, which must be refused. One that means another
        partition comes with what it means.
    """

    columns: str
    key: str
    values: st.SearchStrategy[Any]
    sql: Callable[[Any], str]
    part: Callable[[Any], Any]
    forms: Sequence[Callable[[Any], Any] | tuple[Callable[[Any], Any], Callable[[Any], Any]]]


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identity(value: Any) -> Any:
    return value


def instant(value: datetime, zone: ZoneInfo | timezone = UTC, form: str = "") -> str:
    moment = value.astimezone(zone)
    return moment.strftime(form) if form else moment.isoformat()


DATE_FORMS = ("{:%Y-%m-%d}", "{:%Y%m%d}", "{:%Y-%m-%dT00:00:00}", "{:%Y-%m-%d 00:00Z}", "{:%d.%m.%Y}", "{:%m/%d/%y}")
DAYS = st.dates(date(1970, 1, 2), date(2149, 6, 1))
# Hours and what is not whole hours; without the years in which Seoul's clocks were changed.
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 500_000 * 500_000)
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["kr", "kr ", "7", "NULL", "'"])
KINDS = {
    "date": Kind(
        "d Date", "d", DAYS, lambda day: f"'{day}'", identity, [identity, *(form.format for form in DATE_FORMS)]
    ),
    "month": Kind(
        "d Date", "toYYYYMM(d)", DAYS, lambda day: f"'{day}'", lambda day: (day.year, day.month),
        ["{:%Y%m}".format, lambda day: day.year * 100 + day.month, "{:%Y-%m}".format, identity,
         # A number, but of no row.
         ("{:%Y%m%d}".format, lambda _: None)],
    ),
    "time in a zone": Kind(
        "t DateTime('Asia/Seoul')", "t", MOMENTS, lambda moment: str(int(moment.timestamp())),
        lambda moment: int(moment.timestamp()),
        [identity, instant, partial(instant, zone=SEOUL), lambda moment: int(moment.timestamp()),
         partial(instant, zone=SEOUL, form="%Y-%m-%d %H:%M:%S"), partial(instant, form="%Y%m%dT%H%M%SZ"),
         # Without a zone it is the column's, nine hours ahead.
         (partial(instant, form="%Y-%m-%d %H:%M:%S"), lambda moment: int(moment.timestamp()) - 9 * 3600)],
    ),
    "hour": Kind(
        "t DateTime('UTC')", "toStartOfHour(t)", MOMENTS, lambda moment: str(int(moment.timestamp())),
        lambda moment: int(moment.timestamp()) // 3600,
        [lambda moment: moment.replace(minute=0, second=0, microsecond=0), partial(instant, form="%Y-%m-%dT%H:00Z"),
         partial(instant, form="%Y%m%d%H0000"), partial(instant, form="%Y-%m-%d %H"),
         # A time within the hour is the value of no row.
         (lambda moment: moment.replace(second=1, microsecond=0), lambda _: None)],
    ),
    "time with a fraction": Kind(
        "t DateTime64(1, 'UTC')", "t", MOMENTS,
        lambda moment: quoted(instant(moment, form="%Y-%m-%d %H:%M:%S.%f")[:21]),
        lambda moment: int(moment.timestamp() * 10),
        [identity, instant, partial(instant, form="%Y-%m-%dT%H:%M:%S.%fZ"),
         (partial(instant, form="%Y-%m-%d %H:%M:%S"), lambda moment: int(moment.timestamp()) * 10)],
    ),
    "number": Kind(
        "n Int16", "n", st.integers(-(2**15), 2**15 - 1), str, identity,
        [identity, str, "{:+d}".format, "{:06d}".format, "{}.0".format, lambda n: n + 2**16, float],
    ),
    "text": Kind(
        "s String", "s", WORDS, quoted, identity,
        [identity, lambda text: (text,), (lambda text: f"{text} ", lambda text: f"{text} "), (str.upper, str.upper)],
    ),
    "tuple": Kind(
        "d Date, s String", "(d, s)", st.tuples(DAYS, WORDS),
        lambda pair: f"('{pair[0]}', {quoted(pair[1])})", identity,
        [identity, lambda pair: (f"{pair[0]:%Y%m%d}", pair[1]), lambda pair: repr((str(pair[0]), pair[1])),
         lambda pair: f"('{pair[0]}', {quoted(pair[1])})", lambda pair: pair[1], lambda pair: (pair[1], pair[0])],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), allow_empty=st.booleans(), others=st.sampled_from(["error", "drop"]), has_rows=st.booleans())
def test_the_target_is_right_or_untouched_whatever_is_named(
    clickhouse: clickhouse_driver.Client,
    kind: Kind,
    data: st.DataObject,
    allow_empty: bool,
    others: str,
    has_rows: bool,
) -> None:
    named = data.draw(kind.values, "named")
    computed = [named, data.draw(kind.values, "computed")][data.draw(st.integers(0, 1))] if has_rows else None
    former = [named, *data.draw(st.lists(kind.values, max_size=2), "former")]
    form = data.draw(st.sampled_from(kind.forms))
    spell, means = form if isinstance(form, tuple) else (form, kind.part)
    make_tables(
        clickhouse,
        kind.columns,
        kind.key,
        former=", ".join(map(kind.sql, former)),
        computed=kind.sql(computed) if has_rows else "",
    )
    before = content(clickhouse)
    kept = [value for value in former if kind.part(value) != means(named)]
    try:
        replace(without_jinja(spell(named)), allow_empty=allow_empty, other_partitions=others)
    except AirflowException:
        assert content(clickhouse) == before
        return
    wanted = [(value, FORMER) for value in kept]
    if has_rows and kind.part(computed) == means(named):
        wanted.append((computed, COMPUTED))
    else:
        assert allow_empty or len(kept) == len(former)
        assert others == "drop" or not has_rows
    assert content(clickhouse) == sorted((printed(clickhouse, kind, value), writer) for value, writer in wanted)


def printed(clickhouse: clickhouse_driver.Client, kind: Kind, value: Any) -> str:
    rows = clickhouse.execute(f"SELECT toString(tuple(*)) FROM values({quoted(kind.columns)}, {kind.sql(value)})")
    return str(rows[0][0])
