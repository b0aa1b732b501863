"""What the tests take from the environment they are started in."""

from __future__ import annotations

import re

from tests.conftest import ROOT, is_foreign


def test_what_the_ci_requires_reaches_the_tests_and_a_developers_servers_do_not() -> None:
    required = re.findall(r"\b(MAXY_\w+)=1", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert required == ["MAXY_REQUIRE_BROWSER", "MAXY_REQUIRE_PROMTOOL"]
    for name in required:
        assert not is_foreign(name)
        told = [path for path in (ROOT / "tests").rglob("test_*.py") if f'"{name}"' in path.read_text(encoding="utf-8")]
        assert told, f"no test heeds {name}"
    assert not is_foreign("MAXY_ARTEFACTS")
    for name in ("CLICKHOUSE_HOST", "VALKEY_PORT", "AIRFLOW_CONN_REDIS_DEFAULT", "MAXY_TIMEZONE"):
        assert is_foreign(name)
