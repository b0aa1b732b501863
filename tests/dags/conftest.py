"""The DAGs, parsed as Airflow's DAG processor does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

_LIVE_SETTINGS = "AIRFLOW_VAR_MAXY_REALTIME"


@pytest.fixture(autouse=True)
def _default_live_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    # A developer's own must not decide which DAGs there are.
    monkeypatch.setenv(_LIVE_SETTINGS, "{}")


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(_LIVE_SETTINGS, "{}")
        return DagBag(dag_folder=str(ROOT / "dags"))
