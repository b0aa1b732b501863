"""The options of the feed, for commands that have no use for its libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local.arguments import positive

if TYPE_CHECKING:
    import argparse

#: Rows a second and table of the stack's own feed: the loops are seen to move, and a laptop does not notice.
GENTLE_RATE = 20.0
DEFAULT_RATE = 2000.0


@dataclass(frozen=True)
class FeedOptions:
    """What to send.

    :param rate: rows per second of each of the two tables.
    :param seconds: end after so many; None goes on until told to end.
    :param ledger: a file that gets a line per acknowledged insert.
    :param seed: of the rows and of the devices.
    :param heartbeat: a file that is touched after each second's rows.
    :param log_repeats: whether maxy_app_total_log gets repeats too.
    """

    rate: float = DEFAULT_RATE
    seconds: int | None = None
    ledger: Path | None = None
    seed: int = 1
    heartbeat: Path | None = None
    log_repeats: bool = True


def add_feed_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        type=positive(float),
        default=DEFAULT_RATE,
        help=f"rows per second of EACH of the two tables (default: {DEFAULT_RATE:,.0f})",
    )
    parser.add_argument(
        "--seconds", type=positive(int), metavar="N", help="end by itself after so many (default: go on)"
    )
    parser.add_argument(
        "--ledger", type=Path, metavar="FILE", help="append one JSON line per acknowledged insert to this file"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=FeedOptions.seed,
        help=f"of rows and devices (default: {FeedOptions.seed}, the devices of the sample data)",
    )
    parser.add_argument(
        "--no-log-repeats",
        dest="log_repeats",
        action="store_false",
        help="deliver no row of maxy_app_total_log twice: a repeat that is merged away unseen cannot be counted",
    )


def feed_options(arguments: argparse.Namespace) -> FeedOptions:
    return FeedOptions(
        rate=arguments.rate,
        seconds=arguments.seconds,
        ledger=arguments.ledger,
        seed=arguments.seed,
        heartbeat=getattr(arguments, "heartbeat", None),
        log_repeats=arguments.log_repeats,
    )
