"""What a backfill costs: wall seconds per day, on a stack of its own, with everything Airflow adds.

The stack is the embedded one, on free ports, with sample data for the days; it is removed afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from local.airflow_tasks import airflow_api, wait_for_dag
from local.settings import read_settings
from local.statistics.report import last_full_days
from scripts.backfill import DEFAULT_DAG_ID
from tests.e2e.conftest import ROOT, belongings, own_environment, run_local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.settings import Settings

AIM_SECONDS_PER_DAY = 2.0


def local(environment: Mapping[str, str], *arguments: str) -> str:
    """Run `python -m local` and return what it printed.

    :raises SystemExit: if it fails, with its output.
    """
    done = run_local(environment, *arguments, timeout=3600)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def cpu_seconds(settings: Settings) -> float:
    """Return what the stack's processes have used so far, with those of their children that have ended."""
    total = 0.0
    for process in belongings(settings):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def run(*, days: int, scale: float, max_active_runs: int) -> None:
    """Start a stack, fill it, backfill, and print."""
    folder = Path(tempfile.mkdtemp(prefix="maxy-bench-"))
    environment = own_environment(folder / "local")
    settings = read_settings(ROOT, environment)
    try:
        local(environment, "up")
        # The 30 days before the first one count too, but a backfill costs the same without them.
        print(local(environment, "seed", "--days", str(days), "--scale", str(scale)).strip())
        wait_for_dag(airflow_api(settings), DEFAULT_DAG_ID)
        first, last = last_full_days(settings.timezone, days, datetime.now(UTC))
        used = cpu_seconds(settings)
        started = time.monotonic()
        print(
            local(
                environment,
                *("backfill", "--unpause", "--from", first.isoformat(), "--to", last.isoformat()),
                *("--max-active-runs", str(max_active_runs)),
            ).splitlines()[-1]
        )
        wall = time.monotonic() - started
        used = cpu_seconds(settings) - used
    finally:
        run_local(environment, "clean")
        shutil.rmtree(folder, ignore_errors=True)
    verdict = "met" if wall / days <= AIM_SECONDS_PER_DAY else "MISSED"
    print(
        f"{days} days, {max_active_runs} at a time: {wall:.1f} s, {wall / days:.2f} s a day"
        f" (aim: {AIM_SECONDS_PER_DAY:.0f} s, {verdict}); the whole stack used {used / days:.2f} CPU s a day"
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60, help="days to backfill (default 60)")
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is about 25,000 page rows a day")
    parser.add_argument("--max-active-runs", type=int, default=3, help="days at a time (default 3)")
    arguments = parser.parse_args()
    run(days=arguments.days, scale=arguments.scale, max_active_runs=arguments.max_active_runs)


if __name__ == "__main__":
    main()
