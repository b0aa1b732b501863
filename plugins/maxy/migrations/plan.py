"""What a migrate command is about to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What happens to a file that is not recorded as applied."""

    APPLY = "apply"
    #: Its tables are another program's: it is recorded and not carried out.
    RECORD = "record"


@dataclass(frozen=True)
class Step:
    """One file of one family.

    :param database: ``clickhouse`` or ``postgres``.
    """

    database: str
    family: str
    file: str
    action: Action = Action.APPLY

    def __str__(self) -> str:
        return f"{self.database}/{self.family}/{self.file}"


@dataclass(frozen=True)
class FamilyPlan:
    """One family in one database.

    :param place: server and database, for people.
    :param steps: in the order in which they are taken; empty when the family is up to date.
    """

    place: str
    family: str
    steps: tuple[Step, ...]
