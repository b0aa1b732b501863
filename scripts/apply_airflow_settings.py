"""Write the connections, pools and variables of airflow_settings.yaml into Airflow's metadata database.

    python scripts/apply_airflow_settings.py [FILE] [--overwrite]

Runs where Airflow's own environment is configured (an init container, the embedded stack), in one process: a dozen
calls of Airflow's command line would take half a minute. What exists already is kept, since someone may have changed
it on purpose; ``--overwrite`` sets it back. All or nothing: a file with a mistake changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

_Item = TypeVar("_Item")

DEFAULT_FILE = Path(__file__).resolve().parents[1] / "airflow_settings.yaml"


class SettingsFileError(ValueError):
    """The file is not what Airflow can be given; the text names the entry."""


@dataclass(frozen=True)
class ConnectionEntry:
    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: str | None = None


@dataclass(frozen=True)
class PoolEntry:
    name: str
    slots: int
    description: str


@dataclass(frozen=True)
class VariableEntry:
    key: str
    value: str


@dataclass(frozen=True)
class AirflowSettings:
    connections: tuple[ConnectionEntry, ...]
    pools: tuple[PoolEntry, ...]
    variables: tuple[VariableEntry, ...]


def read_airflow_settings(path: Path) -> AirflowSettings:
    """Read and check the whole file.

    :raises SettingsFileError: it is missing, no YAML, or an entry is wrong; the text names file and entry.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsFileError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SettingsFileError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("airflow"), dict):
        raise SettingsFileError(f"{path}: expected a mapping with the one top key `airflow`")
    sections = document["airflow"]
    _refuse_unknown(sections, {"connections", "pools", "variables"}, f"{path}: airflow")
    return AirflowSettings(
        connections=_unique([_connection(entry) for entry in _entries(path, sections, "connections", "conn_id")]),
        pools=_unique([_pool(entry) for entry in _entries(path, sections, "pools", "pool_name")]),
        variables=_unique([_variable(entry) for entry in _entries(path, sections, "variables", "variable_name")]),
    )


def apply(
    settings: AirflowSettings, session: Session, *, overwrite: bool, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Write every entry and tell what was done, a line each.

    :param overwrite: also replace what exists.
    :param environment: the value of a variable that it sets (``AIRFLOW_VAR_<NAME>``) is stored in the place of the
        file's: it holds whatever is stored, so the web interface had better show it.
    """
    # Imported here: reading and checking the file needs no Airflow.
    from airflow.models.connection import Connection
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from sqlalchemy import select

    def write(kind: str, name: str, model: Any, column: Any, make: Callable[[], object]) -> str:
        existing = session.scalar(select(model).where(column == name))
        if existing is not None and not overwrite:
            return f"{kind} {name}: kept"
        if existing is not None:
            session.delete(existing)
            # Or the new one meets the old one's unique key.
            session.flush()
        session.add(make())
        return f"{kind} {name}: {'created' if existing is None else 'overwritten'}"

    for connection in settings.connections:
        yield write(
            "connection",
            connection.conn_id,
            Connection,
            Connection.conn_id,
            lambda entry=connection: Connection(**vars(entry)),  # type: ignore[misc]
        )
    for pool in settings.pools:
        yield write(
            "pool",
            pool.name,
            Pool,
            Pool.pool,
            lambda entry=pool: Pool(  # type: ignore[misc]
                pool=entry.name, slots=entry.slots, description=entry.description, include_deferred=False
            ),
        )
    for variable in settings.variables:
        yield write(
            "variable",
            variable.key,
            Variable,
            Variable.key,
            lambda entry=variable: Variable(  # type: ignore[misc, no-untyped-call]
                key=entry.key, val=environment.get(f"AIRFLOW_VAR_{entry.key.upper()}", entry.value)
            ),
        )


@dataclass(frozen=True)
class _Entry:
    """One item of the file and where it stands, for messages."""

    place: str
    name: str
    values: dict[str, Any]

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise SettingsFileError(f"{self.place}: {key} must be a text, not {value!r} (quote it)")
        return value

    def required_text(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise SettingsFileError(f"{self.place}: {key} is missing")
        return value

    def number(self, key: str, allowed: range) -> int | None:
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            raise SettingsFileError(
                f"{self.place}: {key} must be a whole number from {allowed[0]} to {allowed[-1]}, not {value!r}"
            )
        return value

    def allow_only(self, *keys: str) -> None:
        _refuse_unknown(self.values, set(keys), self.place)


def _entries(path: Path, sections: dict[str, Any], section: str, name_key: str) -> list[_Entry]:
    items = sections.get(section) or []
    if not isinstance(items, list):
        raise SettingsFileError(f"{path}: {section} must be a list")
    entries = []
    for number, item in enumerate(items, start=1):
        place = f"{path}: {section}, item {number}"
        if not isinstance(item, dict):
            raise SettingsFileError(f"{place}: expected a mapping")
        # Astro's template comes with one item of empty values in each list.
        if not any(value not in (None, "") for value in item.values()):
            continue
        name = _Entry(place, "", item).required_text(name_key)
        entries.append(_Entry(f"{place} ({name})", name, item))
    return entries


def _connection(entry: _Entry) -> tuple[str, str, ConnectionEntry]:
    entry.allow_only(
        "conn_id", "conn_type", "conn_host", "conn_port", "conn_login", "conn_password", "conn_schema", "conn_extra"
    )
    extra = entry.values.get("conn_extra")
    if isinstance(extra, dict):
        extra = json.dumps(extra)
    elif extra not in (None, ""):
        try:
            well_formed = isinstance(json.loads(extra), dict)
        except (TypeError, ValueError):
            well_formed = False
        if not well_formed:
            raise SettingsFileError(f"{entry.place}: conn_extra must be a mapping, or a JSON object as text")
    connection = ConnectionEntry(
        conn_id=entry.name,
        conn_type=entry.required_text("conn_type"),
        host=entry.text("conn_host"),
        port=entry.number("conn_port", range(1, 65536)),
        login=entry.text("conn_login"),
        password=entry.text("conn_password"),
        schema=entry.text("conn_schema"),
        extra=extra or None,
    )
    return entry.place, entry.name, connection


def _pool(entry: _Entry) -> tuple[str, str, PoolEntry]:
    entry.allow_only("pool_name", "pool_slot", "pool_description")
    slots = entry.number("pool_slot", range(1, 100_001))
    if slots is None:
        raise SettingsFileError(f"{entry.place}: pool_slot is missing")
    return entry.place, entry.name, PoolEntry(entry.name, slots, entry.text("pool_description") or "")


def _variable(entry: _Entry) -> tuple[str, str, VariableEntry]:
    entry.allow_only("variable_name", "variable_value")
    return entry.place, entry.name, VariableEntry(entry.name, entry.required_text("variable_value"))


def _unique(named: list[tuple[str, str, _Item]]) -> tuple[_Item, ...]:
    names: set[str] = set()
    for place, name, _ in named:
        if name in names:
            raise SettingsFileError(f"{place}: {name} is listed twice")
        names.add(name)
    return tuple(item for _, _, item in named)


def _refuse_unknown(values: dict[str, Any], known: set[str], place: str) -> None:
    unknown = sorted(str(key) for key in values.keys() - known)
    if unknown:
        raise SettingsFileError(f"{place}: unknown key {', '.join(unknown)} (known: {', '.join(sorted(known))})")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write airflow_settings.yaml into Airflow's metadata database.")
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT_FILE, help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="also replace what exists")
    options = parser.parse_args(arguments)
    try:
        settings = read_airflow_settings(options.file)
    except SettingsFileError as error:
        print(f"apply_airflow_settings: {error}", file=sys.stderr)
        return 2
    from airflow.utils.session import create_session

    with create_session() as session:
        for line in apply(settings, session, overwrite=options.overwrite):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
