"""Toys on the embedded stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.family import LocalFamily, SampleSize

if TYPE_CHECKING:
    from local.stack import Stack


class Toys(LocalFamily):
    """Two deliveries, once."""

    name = "toys"

    def seed(self, stack: Stack, size: SampleSize, *, force: bool) -> None:
        """Send the two deliveries unless they are there."""
        if force or stack.clickhouse.query("SELECT count() FROM toys").strip() == "0":
            stack.clickhouse.query("INSERT INTO toys VALUES ('ball', 3, now()), ('kite', 4, now())")

    def compute(self, stack: Stack) -> int:
        """There is nothing to compute."""
        return 0

    def report(self, stack: Stack) -> bool:
        """Print how many there are."""
        print(f"toys: {stack.clickhouse.query('SELECT sum(number) FROM toys').strip()}")
        return True
