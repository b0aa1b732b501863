"""Statistics on the embedded stack."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from local.airflow_tasks import airflow_api, backfill, wait_for_dag
from local.family import LocalFamily, SampleSize
from local.statistics.feed_part import Feed
from local.statistics.report import REPORTED_DAYS, last_full_days, print_report
from local.statistics.traffic import send_sample_data
from scripts.backfill import DEFAULT_DAG_ID, BackfillRequest, Reprocess

if TYPE_CHECKING:
    from local.services.part import Part
    from local.stack import Stack


class Statistics(LocalFamily):
    """Page views and logs of sample applications; the last days of the daily job."""

    name = "statistics"

    def feed(self) -> Part:
        """Return the sender of page views and log rows."""
        return Feed(self.settings)

    def seed(self, stack: Stack, size: SampleSize, *, force: bool) -> None:
        """Send the sample data that is not there yet."""
        send_sample_data(stack, size, force=force)

    def compute(self, stack: Stack) -> int:
        """Have the last days computed."""
        settings = stack.settings
        first, last = last_full_days(settings.timezone, REPORTED_DAYS)
        wait_for_dag(airflow_api(settings), DEFAULT_DAG_ID)
        status = backfill(
            stack,
            BackfillRequest(
                first=first,
                last=last,
                timezone=settings.timezone,
                # A second `run` mends what was wrong in the first.
                reprocess=Reprocess.FAILED,
                unpause=True,
                poll_interval=1.0,
            ),
        )
        return status

    def report(self, stack: Stack) -> bool:
        """Print the last days and the cache's size."""
        is_complete = print_report(stack)
        if not is_complete:
            first, last = last_full_days(stack.settings.timezone, REPORTED_DAYS)
            print(
                "Some days have no statistics: they were not computed, or the metadata is older than the data."
                f" Compute them again: make backfill FROM={first} TO={last} ARGS='--reprocess completed'",
                file=sys.stderr,
            )
        return is_complete
