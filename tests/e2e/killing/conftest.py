"""The stack of the tests that kill or stop its parts, and bring them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import STACK_SETTINGS, started_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import RunningStack


@pytest.fixture(scope="package")
def stack() -> Iterator[RunningStack]:
    """One without data."""
    with started_stack(dags=None, **STACK_SETTINGS) as running:
        yield running
