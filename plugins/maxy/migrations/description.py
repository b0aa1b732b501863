"""What a family says of its ClickHouse migrations: ``migrations.toml`` beside the files. Each part may be left out.

- ``version_table``: records what was applied; ``schema_versions_<family>`` by default.
- ``timezone_variable``: by which the files write the zone whose midnight begins a day.
- ``ttl_days.<name>``: days that ``tables`` keep their rows: ``default``, set by ``MAXY_<NAME>_TTL_DAYS``, written in
  the files as ``${<NAME>_TTL_DAYS}``.
- ``sources``: ``tables`` that belong to another program where there is one, made by the files up to ``last_version``.
- ``views``: the family's materialized views, each with the table that it alone may fill.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maxy.migrations.errors import MigrateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME = "migrations.toml"
# DateTime ends in 2106: a TTL beyond it wraps around and would delete the rows at once.
_MAXIMUM_TTL_DAYS = 18_250

_Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableTtl(_Part):
    """How long some tables keep their rows.

    :param default: days.
    """

    default: int = Field(ge=1, le=_MAXIMUM_TTL_DAYS)
    tables: tuple[_Identifier, ...]


class Sources(_Part):
    """Tables that may be another program's.

    :param last_version: number of the last file that makes one of them.
    """

    last_version: int = 0
    tables: tuple[_Identifier, ...] = ()


class Description(_Part):
    """The whole of ``migrations.toml``."""

    version_table: _Identifier | None = None
    timezone_variable: _Identifier | None = None
    ttl_days: dict[_Identifier, TableTtl] = Field(default_factory=dict)
    sources: Sources = Sources()
    views: dict[_Identifier, _Identifier] = Field(default_factory=dict)

    def check_ttl_days(self, chosen: Mapping[str, int]) -> dict[str, int]:
        """Return the days of each TTL: the chosen ones, else the default ones.

        :raises MigrateError: one is not between 1 and 18250.
        """
        days = {name: chosen.get(name, ttl.default) for name, ttl in self.ttl_days.items()}
        for name, value in days.items():
            if not 1 <= value <= _MAXIMUM_TTL_DAYS:
                raise MigrateError(f"TTL {name} is {value}: expected 1 to {_MAXIMUM_TTL_DAYS} days")
        return days

    def variables(self, timezone: str, ttl_days: Mapping[str, int]) -> dict[str, str]:
        """Return what stands for ``${NAME}`` in the files."""
        days = {f"{name.upper()}_TTL_DAYS": str(value) for name, value in ttl_days.items()}
        return days if self.timezone_variable is None else {self.timezone_variable: timezone, **days}


def read_description(folder: Path) -> Description:
    """Read a family's ``migrations.toml``; one that is missing says nothing.

    :raises MigrateError: it is malformed; the message names the file and the entry.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Description()
    try:
        return Description.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MigrateError(f"{path}: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise MigrateError(f"{path}: {wrong}") from None
