"""What the embedded stack's parts are started with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from airflow.configuration import conf
from sqlalchemy import make_url

from local.processes import ProcessError
from local.services.airflow import AirflowDeployment
from local.services.postgres import Postgres
from local.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path


def test_airflow_knows_every_setting(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {})

    for name in AirflowDeployment(settings, Postgres(settings)).environment():
        if name.startswith("AIRFLOW__"):
            section, key = name.removeprefix("AIRFLOW__").lower().split("__")
            assert key in conf.configuration_description.get(section, {}).get("options", {}), name


@pytest.mark.parametrize("name", ["my c++ clone", "50%25", "a&b=c"])
def test_the_databases_address_is_right_whatever_the_checkout_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # In place of one that depends on how long this test's own path is.
    monkeypatch.setattr(Postgres, "socket_directory", tmp_path / name)

    url = make_url(Postgres(read_settings(tmp_path, {})).sqlalchemy_url())

    assert url.query == {"host": str(tmp_path / name)}


def test_a_user_whom_the_machine_does_not_know_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container that is run under some number.
    monkeypatch.setattr(os, "geteuid", lambda: 2_000_000_001)

    with pytest.raises(ProcessError, match="knows none for 2000000001"):
        Postgres(read_settings(tmp_path, {})).command()
