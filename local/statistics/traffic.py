"""Sample data and live traffic, sent through the same interface as any collector's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from local.services.part import one_line
from local.stack import StackError

if TYPE_CHECKING:
    from local.family import SampleSize
    from local.settings import Settings
    from local.stack import Stack
    from local.statistics.feed_options import FeedOptions


def send_sample_data(stack: Stack, size: SampleSize, *, force: bool = False) -> None:
    """Send the sample data that is not there yet.

    :raises QueryError: ClickHouse cannot be reached.
    :raises StackError: it refuses the data.
    """
    # Imported here: numpy and the client take a second, which `status` and `sql` need not wait for.
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from local.statistics.sample_data import seed

    with stack.exclusive():
        settings = stack.settings
        # The client below would tell the same in many lines.
        stack.clickhouse.query("SELECT 1")
        try:
            with clickhouse_connect.get_client(**_http_arguments(settings)) as client:
                seed(
                    client,
                    now=datetime.now(UTC),
                    days=size.days,
                    scale=size.scale,
                    timezone=settings.timezone,
                    force=force,
                )
        except ClickHouseError as error:
            raise StackError(f"ClickHouse did not take the sample data: {one_line(str(error))}") from error


def send_live_traffic(stack: Stack, options: FeedOptions) -> int:
    """Send live traffic until interrupted, or for the options' seconds.

    :return: 0, or 1 when it had to end without knowing what became of an insert.
    :raises QueryError: ClickHouse cannot be reached when it begins.
    :raises StackError: a rate that is too high.
    """
    # Not in the middle of another command; those that come later find a sender like any other.
    with stack.exclusive():
        stack.clickhouse.query("SELECT 1")
    # Imported here, as for the sample data.
    from local.statistics.feed import run_feed

    try:
        return run_feed(
            _http_arguments(stack.settings),
            timezone=stack.settings.timezone,
            options=options,
            report=lambda line: print(line, flush=True),
        )
    except ValueError as error:
        raise StackError(f"the feed cannot begin: {error}") from error


def _http_arguments(settings: Settings) -> dict[str, Any]:
    """Return what clickhouse_connect.get_client needs."""
    return {
        "host": settings.host,
        "port": settings.clickhouse_port,
        "username": settings.clickhouse_user,
        "password": settings.clickhouse_password,
        "database": settings.clickhouse_database,
    }
