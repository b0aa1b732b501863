"""The list of known differences names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clickhouse_testkit import differences
from clickhouse_testkit.differences import DIFFERENCES, Difference, Server, difference

_HERE = Path(__file__).parent


def test_each_entry_names_a_test_and_a_reason() -> None:
    for entry in DIFFERENCES:
        file, _, test = entry.test.partition("::")
        source = (_HERE / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {re.escape(test.partition('[')[0])}\(", source, re.MULTILINE), entry.test
        assert entry.reason


@pytest.mark.parametrize("nodeid", ["test_a.py::test_b", "test_a.py::test_b[c]"])
def test_an_entry_holds_for_its_server_only(monkeypatch: pytest.MonkeyPatch, nodeid: str) -> None:
    entry = Difference("test_a.py::test_b", Server.OTHER, "it has none")
    monkeypatch.setattr(differences, "DIFFERENCES", (entry,))
    assert difference(f"tests/conformance/{nodeid}", Server.OTHER) is entry
    assert difference(f"tests/conformance/{nodeid}", Server.EMBEDDED) is None
    assert difference("tests/conformance/test_a.py::test_other", Server.OTHER) is None
