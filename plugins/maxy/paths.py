"""Where the package's files lie; no Airflow, so that everything may import it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names the folder where the SQL files are elsewhere than beside or below plugins/.
SQL_DIRECTORY_VARIABLE = "MAXY_SQL_DIRECTORY"


def find_sql_directory(plugins: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the SQL files: the one that is named, else include/sql beside plugins/, below it, or inside
    of the package, where ``pip install`` puts it.

    :param plugins: Airflow's plugins folder. Some deployments take nothing but that one and dags/.
    :raises FileNotFoundError: there is none; the text says where it was looked for.
    """
    if named := environment.get(SQL_DIRECTORY_VARIABLE):
        if not Path(named).is_dir():
            raise FileNotFoundError(f"{SQL_DIRECTORY_VARIABLE}={named}: there is no such folder")
        return Path(named).resolve()
    places = [folder / "include" / "sql" for folder in (plugins.parent, plugins, plugins / "maxy")]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"the package's SQL files are in none of {', '.join(map(str, places))}: copy include/ there, or set"
        f" {SQL_DIRECTORY_VARIABLE} to the folder that has them"
    )


#: Every SQL file, by family; the DAGs' ``template_searchpath``.
SQL_DIRECTORY = find_sql_directory(Path(__file__).resolve().parents[1])
