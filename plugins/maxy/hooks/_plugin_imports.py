"""How airflow-clickhouse-plugin is imported."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def without_moved_names() -> Iterator[None]:
    """Import airflow-clickhouse-plugin without its warning, which would stand in the log of every ClickHouse task.

    The plugin (1.8) imports ``BaseHook`` by the path of Airflow 2; only its next version can change that. Warnings of
    other names, and of other modules' imports, are as before.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*airflow\.hooks\.base\.BaseHook", module=r"airflow_clickhouse_plugin\.")
        yield
