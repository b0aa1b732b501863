"""The embedded ClickHouse under kills and under load, with exact figures in the end.

kills: writers over both protocols and a running mutation; the server is killed, started again, and every row counted.
load: clients over both protocols that insert, read, change tables, leave, stall and are killed; then contents are
compared with what was acknowledged, and threads, files and memory with what they were.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from clickhouse_benchmarks.soak.kills import Kills
from clickhouse_benchmarks.soak.load import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

_REST_SECONDS = 20.0


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    kills = commands.add_parser("kills", help="kill -9 under writers and a mutation")
    kills.add_argument("--rounds", type=int, default=20, help="how many kills (default 20)")
    load = commands.add_parser("load", help="many clients at once")
    load.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    load.add_argument("--clients", type=int, default=24, help="how many (default 24)")
    for command in (kills, load):
        command.add_argument("--seed", type=int, default=None, help="decides what is done (default: another each time)")
        command.add_argument("--keep", action="store_true", help="leave log and data where they are")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; status 0 if all is as it should be."""
    options = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="clickhouse-soak-"))
    _say(f"{options.command}, seed {seed}, in {folder}")
    try:
        if options.command == "kills":
            killed = Kills(folder, seed=seed, report=_say).run(options.rounds)
            faults, summary = killed.faults, str(killed)
        else:
            loaded = Load(folder, seed=seed, clients=options.clients, report=_say, rest=_REST_SECONDS).run(
                options.seconds
            )
            faults, summary = loaded.faults, str(loaded)
        for fault in faults[:20]:
            _say(f"FAULT: {fault}")
        _say(summary)
        return 1 if faults else 0
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
