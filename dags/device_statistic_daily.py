"""
Daily device and page statistics: `max_device_statistic` in ClickHouse, then the hashes `…:daily:…` in Valkey.

For the API server and the dashboards. Each run computes one day in the statistics time zone: the parameter
`stat_date` if given, else the day of the run's data interval, else yesterday.

**Re-running is safe**, for any day, in any way (clear, trigger, backfill), also several at once: the rollup replaces
the whole day in one step, the cache task replaces the day's whole set of keys (up to 3,000 in one step), and what was
read earlier never replaces what was read later in Valkey, whatever clocks say.

**Triage**
- `wait_until_settled` fails: `stat_date` is not a date, lies in the future or contradicts the run's own day (a backfill
  with one `stat_date` would compute that day again and again), a parameter's name is misspelt, or a variable named
  there is wrong. The message has both sides.
- `rollup` is skipped: neither source rows nor statistics exist for the day. If there should be rows, look at the
  collectors.
- `rollup` fails with "has no rows … but the partition holds": the source lost a day that was computed before.
  Restore the source, or run with `allow_empty` if the day really is empty.
- `rollup` fails with "a check fails" or "no row passes the checks": what was computed cannot be right, so the day was
  left as it is. Look at the source's rows, then clear the task; a retry alone would find the same.
- `rollup` fails otherwise: the message has ClickHouse's error, the statement's place in `rollup.sql` and its query_id
  (see `system.query_log`). Clear the task once the cause is gone.
- `check_…` fails: the day in the table is suspect, and Valkey still has what it had. The log names the check; clear
  `rollup` with its downstream tasks once the source is right.
- `cache` fails: Valkey still has what it had. Clear it once Valkey is back.
- `cache` fails with "the group belongs to": another DAG or task writes the day's index. It names both, and the
  command that hands the day over.
- `cache` was killed in the middle of a day of more than 3,000 keys: some keys are of this computation, others of the
  one before. Clear it.
- `cache` warns that keys held another type: something else writes into our keys; they were replaced.
- The day is in the table and not in Valkey: `make recache FROM=… TO=…` (the parameter `cache_only`: nothing is
  computed, so `rollup` and the checks are skipped). `cache` is skipped if the table has no row of the day.
- A warning that rows were left out: a collector sends no package, server type or OS, or a name that is too long. Other
  keys are not affected. The log, the Health page and `maxy_partition_report` name the worst of them.
- A warning that values are out of range: phones send what no phone can have measured. The values are left out, the rows
  count; the ranges are the variable `maxy_metric_ranges`.
- A warning that rows fail a check: these keys are not in the day. The log has all their figures.
- Days without a run (Airflow was down over midnight): `make backfill FROM=… TO=…`.
"""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TriggerRule

from maxy.dag_defaults import DEFAULT_ARGS, Tag
from maxy.operators.clickhouse_checks import ClickHouseColumnCheckOperator, ClickHouseTableCheckOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.paths import SQL_DIRECTORY
from maxy.settings import statistics_timezone
from maxy.statistics.assets import MAX_DEVICE_STATISTIC, tell_stat_date
from maxy.statistics.day_sensor import StatisticsDaySensor
from maxy.statistics.family import FAMILY

TABLE = "max_device_statistic"
COUNTS = (
    "visit",
    "install",
    "login",
    "dau",
    "revisit_7d",
    "mau",
    "crash_count",
    "error_count",
    "js_error_count",
    "log_count",
    "pv",
)
AVERAGES = ("intervaltime_avg", "lcp_avg", "ttfb_avg", "fcp_avg", "inp_avg")
STAT_DATE = "{{ macros.maxy.statistics_day(dag_run, params) }}"
UTC_INSTANT = "{{ macros.maxy.statistics_day(dag_run, params).%s.strftime('%%Y-%%m-%%d %%H:%%M:%%S') }}"
# What rollup.sql leaves out of the day is under later dates than any day has (left_out_dates.sql).
LEFT_OUT_DATES = ["2149-06-04", "2149-06-05", "2149-06-06"]
OF_A_DAY = "stat_date < toDate(65533)"
# What must be true of the figures of any key. A key of which it is not is left out of the day.
ROW_CHECKS = {
    # The columns are unsigned: a count below 0 shows as one that no signed number holds.
    **{f"{column}_is_plausible": f"{column} < {2**63}" for column in COUNTS},
    **{f"{column}_is_plausible": f"isFinite({column}) AND {column} >= 0" for column in AVERAGES},
    "dau_within_mau": "dau <= mau",
    "revisit_7d_within_dau": "revisit_7d <= dau",
}
ONE_ROW_PER_KEY = "count() = uniqExact(package_nm, server_type, os_type)"
timezone = statistics_timezone()

with DAG(
    dag_id="device_statistic_daily",
    description=__doc__.strip().partition("\n")[0],
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone=timezone.key),
    # Early, so that any day can be backfilled; nothing is caught up by itself.
    start_date=datetime(2020, 1, 1, tzinfo=timezone),
    catchup=False,
    max_active_runs=4,
    default_args=dict(DEFAULT_ARGS),
    template_searchpath=[str(SQL_DIRECTORY)],
    params={
        "stat_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description=f"YYYY-MM-DD in {timezone.key}; empty: the run's own day",
            # For scripts/backfill.py: Airflow's API does not tell a DAG's zone.
            timezone=timezone.key,
        ),
        "allow_empty": Param(
            False,
            type="boolean",
            title="Allow an empty day",
            description="Replace a day that has statistics even if the source has no rows for it any more",
        ),
        # For scripts/recache.py.
        "cache_only": Param(
            False,
            type="boolean",
            title="Only cache",
            description="Compute nothing; put the day into Valkey again as the table has it",
        ),
    },
    tags=[FAMILY.tag, Tag.TIER_1, Tag.DAILY],
) as dag:
    wait_until_settled = StatisticsDaySensor(
        task_id="wait_until_settled",
        settling_minutes="{{ macros.maxy.settling_minutes() }}",
        cache_only="{{ params.cache_only }}",
    )
    rollup = ClickHouseReplacePartitionOperator(
        task_id="rollup",
        sql="statistics/device_statistic/rollup.sql",
        parameters={
            "stat_date": STAT_DATE,
            "day_start": UTC_INSTANT % "start",
            "day_end": UTC_INSTANT % "end",
        },
        table=TABLE,
        partition=STAT_DATE,
        other_partitions=LEFT_OUT_DATES,
        # A package that was there on earlier days only has a row (its mau), but does not make the day one with data.
        source_rows=f"countIf({OF_A_DAY} AND (dau > 0 OR pv > 0))",
        allow_empty="{{ params.allow_empty }}",
        left_out="statistics/device_statistic/left_out.sql",
        row_checks=ROW_CHECKS,
        checks={"one_row_per_key": ONE_ROW_PER_KEY},
        report_table="maxy_partition_report",
        pool="clickhouse",
    )
    check_columns = ClickHouseColumnCheckOperator(
        task_id="check_columns",
        table=TABLE,
        partition_clause=f"stat_date = '{STAT_DATE}'",
        column_mapping={column: {"max": {"less_than": 2**63}} for column in COUNTS},
        # The same rows would fail again.
        retry_on_failure=False,
    )
    check_table = ClickHouseTableCheckOperator(
        task_id="check_table",
        table=TABLE,
        partition_clause=f"stat_date = '{STAT_DATE}'",
        checks={
            "has_rows": {"check_statement": "count() > 0 OR {{ 'true' if params.allow_empty else 'false' }}"},
            "one_row_per_key": {"check_statement": ONE_ROW_PER_KEY},
            "dau_within_mau": {"check_statement": f"countIf(NOT ({ROW_CHECKS['dau_within_mau']})) = 0"},
            "revisit_7d_within_dau": {"check_statement": f"countIf(NOT ({ROW_CHECKS['revisit_7d_within_dau']})) = 0"},
        },
        retry_on_failure=False,
    )
    cache = ClickHouseToValkeyHashOperator(
        task_id="cache",
        sql="statistics/device_statistic/cache.sql",
        parameters={"stat_date": STAT_DATE},
        key_prefix="{{ macros.maxy.valkey_prefix() }}:",
        key_template="daily:{stat_date}:{package_nm}:{server_type}:{os_type}",
        index_key=f"index:daily:{STAT_DATE}",
        expire="{{ macros.maxy.daily_cache_days() * 86400 }}",
        # Applications read plain keys. A day of more than 3,000 of them, of which each is whole, is for a moment of two
        # computations.
        large_groups="slices",
        # Something else than a hash where a package's figures belong must not keep out the other packages.
        foreign_keys="replace",
        log_values="{{ macros.maxy.log_cache_values() }}",
        # Where nothing was computed, the table decides.
        trigger_rule=TriggerRule.NONE_FAILED,
        skip_empty="{{ not params.allow_empty }}",
        outlets=[MAX_DEVICE_STATISTIC],
        post_execute=tell_stat_date,
    )

    wait_until_settled >> rollup >> [check_columns, check_table] >> cache
