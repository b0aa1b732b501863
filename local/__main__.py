"""The embedded stack's command line, ``python -m local COMMAND``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local import airflow_tasks, commands
from local.airflow_cli import run_airflow, run_cleanup
from local.arguments import positive
from local.family import SampleSize
from local.processes import ProcessError
from local.settings import SettingsError, read_settings
from local.stack import SERVICE_ERRORS, Progress, Stack, StackError
from local.statistics.feed_options import GENTLE_RATE, add_feed_options, feed_options
from local.statistics.traffic import send_live_traffic
from scripts import recache
from scripts.backfill import BackfillError, add_backfill_options, request_from
from scripts.day_range import add_range_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[1]


def _up(stack: Stack, options: argparse.Namespace) -> int:
    stack.up()
    print(f"Airflow: {stack.settings.airflow_url}")
    if not all(feed.process.running() for feed in stack.feeds):
        print(commands.FEED_IS_OPTIONAL)
    return 0


def _down(stack: Stack, options: argparse.Namespace) -> int:
    stack.down()
    return 0


def _clean(stack: Stack, options: argparse.Namespace) -> int:
    # In one: an `up` that waits must not find its data going.
    with stack.exclusive():
        stack.down()
        stack.remove_data()
    return 0


def _status(stack: Stack, options: argparse.Namespace) -> int:
    parts = stack.status()
    print("\n".join(commands.status_lines(parts)))
    for warning in stack.warnings():
        print(f"warning: {warning}")
    return 0 if all(part.in_order for part in parts) else 1


def _logs(stack: Stack, options: argparse.Namespace) -> int:
    names = [part.name for part in stack.all_parts]
    if options.part and options.part not in names:
        raise StackError(f"there is no part {options.part}; the parts are {', '.join(names)}")
    paths = [part.process.log for part in stack.all_parts if options.part in (None, part.name)]
    commands.show_logs(paths, lines=options.lines, follow=options.follow)
    return 0


def _seed(stack: Stack, options: argparse.Namespace) -> int:
    commands.seed(stack, _sample_size(options), force=options.force)
    return 0


def _feed(stack: Stack, options: argparse.Namespace) -> int:
    return send_live_traffic(stack, feed_options(options))


def _sql(stack: Stack, options: argparse.Namespace) -> int:
    return commands.run_sql(stack, options.statement or sys.stdin.read(), output_format=options.format)


def _backfill(stack: Stack, options: argparse.Namespace) -> int:
    return airflow_tasks.backfill(stack, request_from(options))


def _recache(stack: Stack, options: argparse.Namespace) -> int:
    return airflow_tasks.recache(stack, recache.request_from(options))


def _airflow(stack: Stack, options: argparse.Namespace) -> int:
    return run_airflow(stack, options.airflow_arguments)


def _cleanup(stack: Stack, options: argparse.Namespace) -> int:
    return run_cleanup(stack, dry_run=options.dry_run)


def _report(stack: Stack, options: argparse.Namespace) -> int:
    return 0 if commands.report(stack) else 1


def _run(stack: Stack, options: argparse.Namespace) -> int:
    return commands.run(stack, _sample_size(options))


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=positive(int), default=40, help="full days of sample data (default: 40)")
    parser.add_argument("--scale", type=positive(float), default=1.0, help="1.0 is about 25,000 page rows a day")


def _sample_size(options: argparse.Namespace) -> SampleSize:
    return SampleSize(days=options.days, scale=options.scale)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="The embedded stack, without docker.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Stack, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        subparser = subparsers.add_parser(name, help=text, description=text)
        subparser.set_defaults(run=run, command=name)
        return subparser

    add("up", _up, "start what does not run yet and wait until all parts work")
    add("down", _down, "stop all that `up` and `run` started; the data stays")
    add("clean", _clean, "stop, and remove data, logs and generated credentials")
    add("status", _status, "a line per part, and warnings; status 0 only if all parts work (the feed may be stopped)")
    logs = add("logs", _logs, "the end of the parts' logs")
    logs.add_argument("part", nargs="?", help="one part, as `status` names it (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    logs.add_argument("-n", "--lines", type=int, default=20, help="default: 20")
    seed = add("seed", _seed, "send the sample data that is not there yet")
    _add_sample_options(seed)
    seed.add_argument("--force", action="store_true", help="send all of it again, as repeated deliveries")
    feed = add("feed", _feed, "send live traffic of both source tables until interrupted")
    add_feed_options(feed)
    sql = add("sql", _sql, "run one statement on ClickHouse")
    sql.add_argument("statement", nargs="?", help="default: read it from standard input")
    sql.add_argument("--format", default="PrettyCompactMonoBlock", help="ClickHouse's output format")
    backfill = add("backfill", _backfill, "compute a range of days again and wait for it")
    add_range_options(backfill)
    add_backfill_options(backfill)
    recached = add("recache", _recache, "put a range of days into Valkey again as the table has them, and wait for it")
    recache.add_recache_options(recached)
    add("airflow", _airflow, "Airflow's own command line on the running stack; what follows is given to it as it is")
    cleanup = add("cleanup", _cleanup, "remove old task logs and old metadata of Airflow now, as happens once a day")
    cleanup.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    add("report", _report, "the last 7 days' statistics, the cache's size, address and login")
    run = add(
        "run",
        _run,
        "up, seed, compute the last 7 days, report, and then live: the loops are unpaused, and a feed of"
        f" {GENTLE_RATE:g} rows per second and table goes on until `down`",
    )
    _add_sample_options(run)
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    # What follows `airflow` is Airflow's, options like --help included.
    own = arguments[:1] if arguments[:1] == ["airflow"] else arguments
    options = parser().parse_args(own)
    options.airflow_arguments = arguments[len(own) :]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(list(sys.argv[1:] if arguments is None else arguments))
    try:
        stack = Stack(
            read_settings(ROOT),
            Progress(lambda line: print(line, flush=True)),
            command=options.command,
            read_settings=lambda: read_settings(ROOT),
        )
        return int(options.run(stack, options))
    except BrokenPipeError:
        # The reader of a pipe (head, less) has had enough.
        sys.stderr.close()
        return 0
    except (SettingsError, StackError, ProcessError, BackfillError, *SERVICE_ERRORS) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
