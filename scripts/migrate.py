"""Bring the package's databases up to date: apply the files of include/sql/migrations that are not applied yet.

    python -m scripts.migrate [--family FAMILY] [--plan]

Reads everything from the environment, as docker compose's init container does. Applying twice is harmless. ``--plan``
shows what would be applied and writes nothing. Ends with 0 when the databases are up to date (or the plan was shown),
else with 1 and the reason.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if find_spec("maxy") is None:
    # Airflow has this folder on the path of its own processes; this is none of them.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

from maxy.migrations import MigrateError, Migrations
from maxy.migrations.plan import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maxy.migrations.plan import FamilyPlan

__all__ = ["MigrateError", "Migrations", "main"]


def main(arguments: Sequence[str] = ()) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    # It logs a traceback for a refused connection, which the error's one sentence already tells.
    logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)
    try:
        migrations = Migrations(os.environ, family=options.family)
        lines = _show(migrations.plan()) if options.plan else [f"applied {step}" for step in migrations.apply()]
    except MigrateError as error:
        print(f"migrations not {'planned' if options.plan else 'applied'}: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines) or "nothing to apply: the database is up to date")
    return 0


def _show(plans: Sequence[FamilyPlan]) -> list[str]:
    lines = []
    for plan in plans:
        lines.append(f"{plan.family}, {plan.place}: {len(plan.steps) or 'nothing'} to apply")
        for step in plan.steps:
            note = "" if step.action is Action.APPLY else "    recorded, not carried out"
            lines.append(f"  {step.file}{note}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.migrate", description="Bring the package's databases up to date."
    )
    parser.add_argument("--family", help="only this family's tables (a folder's name in include/sql/migrations/*/)")
    parser.add_argument("--plan", action="store_true", help="show what would be applied, and write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
