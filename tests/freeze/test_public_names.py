"""No name is lost that users, stored runs or other programs rely on."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.freeze.public_names import DOCUMENTED, FROZEN, ROOT, STORED, collect, find

if TYPE_CHECKING:
    from collections.abc import Iterator

WANTED = json.loads(FROZEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def present() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", "{}")
        return collect(DagBag(dag_folder=str(ROOT / "dags")))


def lost(frozen: Any, present: Any, place: str) -> Iterator[str]:
    """Yield where something is not as it was; what has come in addition is none of it."""
    if isinstance(frozen, dict) and isinstance(present, dict):
        for name, value in frozen.items():
            if name in present:
                yield from lost(value, present[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is gone"
    elif isinstance(frozen, list) and isinstance(present, list) and place.startswith(_UNORDERED):
        yield from (f"{place}: {value!r} is gone" for value in frozen if value not in present)
    elif isinstance(frozen, list) and isinstance(present, list) and place.startswith("signatures."):
        # Another parameter may come, if it has a default and those given by position stay where they were.
        yield from (f"{place}: {name} is gone" for name in frozen if name not in present)
        yield from (f"{place}: {name} must be given now" for name in present if name not in frozen and "=" not in name)
    elif frozen != present:
        yield f"{place} was {frozen!r} and is {present!r}"


_UNORDERED = ("plugin.", "api.routes", "settings.", "compose.", "environment", "alerts", "metrics", "key_patterns")


@pytest.mark.parametrize("part", sorted(WANTED))
def test_nothing_is_lost(part: str, present: dict[str, Any]) -> None:
    assert list(lost(WANTED[part], present[part], part)) == []


def test_every_documented_name_is_frozen() -> None:
    assert sorted(WANTED["signatures"]) == sorted(DOCUMENTED)


@pytest.mark.parametrize("path", [*DOCUMENTED, *STORED])
def test_a_name_of_old_is_the_object_of_today(path: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find(path)
    home = getattr(found, "__module__", None)
    module = path.rpartition(".")[0]
    if home is not None and home != module and isinstance(found, type):
        assert found is getattr(import_module(home), found.__name__)
    # Nothing but a way over is said.
    assert all(issubclass(one.category, DeprecationWarning) for one in caught)


@pytest.mark.parametrize(
    ("frozen", "present", "is_lost"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": {"b": None}}, {"a": {"b": 0}}, True),
    ],
)
def test_what_counts_as_lost(frozen: Any, present: Any, is_lost: bool) -> None:
    assert bool(list(lost(frozen, present, "dags"))) is is_lost
