"""Where the package's files lie; no Airflow, so that everything may import it."""

from __future__ import annotations

from pathlib import Path

#: Every SQL file, by family; the DAGs' ``template_searchpath``.
SQL_DIRECTORY = Path(__file__).resolve().parents[2] / "include" / "sql"
