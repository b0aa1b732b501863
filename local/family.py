"""What a family brings to the embedded stack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.services.part import Part
    from local.settings import Settings
    from local.stack import Stack


@dataclass(frozen=True)
class SampleSize:
    """How much sample data there is to be.

    :param days: full days before today.
    :param scale: 1.0 is what a laptop takes in seconds.
    """

    days: int
    scale: float


class LocalFamily(ABC):
    """One family on the embedded stack. What it does not have it leaves out.

    :param settings: of the stack.
    """

    #: As in ``FAMILIES=`` and in the package.
    name: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def services(self) -> Sequence[Part]:
        """Return the services that this family needs besides ClickHouse, Valkey, PostgreSQL and Airflow."""
        return ()

    def feed(self) -> Part | None:
        """Return what sends live traffic in the background."""
        return None

    def seed(self, stack: Stack, size: SampleSize, *, force: bool) -> None:  # noqa: B027 - not every family has some
        """Send the sample data that is not there yet.

        :param force: send all of it again.
        :raises QueryError: a service cannot be reached.
        :raises StackError: it refuses the data.
        """

    @abstractmethod
    def compute(self, stack: Stack) -> int:
        """Have Airflow do the family's main job once, so that there is something to look at, and wait for it.

        :return: 0 if it was done.
        """

    @abstractmethod
    def report(self, stack: Stack) -> bool:
        """Print what is there.

        :return: whether that is all.
        """
