"""The stack of the tests that leave it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import SCALE, SEEDED_DAYS, STACK_SETTINGS, TEST_DAGS, started_stack
from tests.e2e.statsd import StatsdReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import RunningStack


@pytest.fixture(scope="package")
def statsd() -> Iterator[StatsdReceiver]:
    with StatsdReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def stack(statsd: StatsdReceiver) -> Iterator[RunningStack]:
    """One with sample data."""
    with started_stack(dags=TEST_DAGS, **STACK_SETTINGS, **statsd.variables_of_the_page()) as running:
        # Before anyone has a DAG run: the first run of the schedule computes yesterday.
        seeded = running.run_command("seed", "--days", str(SEEDED_DAYS), "--scale", str(SCALE))
        assert seeded.returncode == 0, seeded.stdout + seeded.stderr
        yield running
