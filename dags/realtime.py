"""
Live statistics, one DAG per loop: the task `run_loop` defers to the triggerer, where the loop ticks at a fixed rate
until its deadline (6 hours); then the next run takes over.

For the API server and the dashboards that read Valkey. Which loops there are, and how often they tick, is the Airflow
variable `maxy_realtime` (see the README).

**Running it again is safe** at any time: clear, mark success or failed, delete, a second triggerer, or a triggerer that
is killed. A loop's state is in Valkey, every write first checks the loop's lease there, so exactly one copy writes, and
the next one goes on where the last one stopped. Pausing the DAG does not stop a loop that runs: mark its run as failed
or successful too.

**Triage**
- `run_loop` is deferred: that is how it looks when it works. The hash `{prefix}:loop:<name>` in Valkey tells the last
  tick, the last error and who ticks; the task's log has one line a minute, a
  few written keys as samples, and errors when they change (bounded per minute, see docs/how-to-live-loops.md).
- `run_loop` is deferred and nothing ticks: is a triggerer running? Else the log has the reason: ClickHouse or Valkey
  cannot be reached, or another copy holds the lease (`{prefix}:loop:<name>:lease`, gone 15 s after its holder).
- `run_loop` fails: it was triggered with a `conf` (a loop takes no parameters), a connection is missing, or the
  settings do not fit the loop's class (a DAG of an older version). The next run starts by itself.
- The DAG's description begins with *Refused*: its settings, or its class, are wrong, and the description says what. The
  other loops run. Mend the variable; the next run starts by itself.
- Figures stand still: see `last_error` of the hash; the loop goes on trying, and catches up by itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from maxy.assembly import live_loops
from maxy.dag_defaults import DEFAULT_ARGS, Tag
from maxy.loops.registry import RefusedLoop
from maxy.operators.realtime import RealtimeLoopOperator, RefusedLoopOperator
from maxy.settings import statistics_timezone

timezone = statistics_timezone()

for family, loop in live_loops():
    with DAG(
        dag_id=f"realtime_{loop.name}",
        description=loop.description.partition("\n")[0],
        doc_md=f"{loop.description}\n\n{__doc__}",
        # One that cannot run would fail again and again.
        schedule=None if isinstance(loop, RefusedLoop) else "@continuous",
        start_date=datetime(2020, 1, 1, tzinfo=timezone),
        catchup=False,
        max_active_runs=1,
        default_args=dict(DEFAULT_ARGS),
        tags=[family.tag, Tag.TIER_1, Tag.LIVE],
    ):
        # Airflow does not count the time a task is deferred so far; if it did, an hour would end the loop.
        limit = loop.duration + timedelta(hours=1)
        if isinstance(loop, RefusedLoop):
            RefusedLoopOperator(
                task_id="run_loop",
                loop=loop.path,
                reason=loop.reason,
                duration=loop.duration,
                execution_timeout=limit,
            )
        else:
            RealtimeLoopOperator(
                task_id="run_loop",
                loop=loop.path,
                settings=loop.settings.to_json(),
                duration=loop.duration,
                execution_timeout=limit,
            )
