"""The configuration file of ``serve``: TOML with a section for the engine and one for the limits."""

from __future__ import annotations

import inspect
import json
import math
import re
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from embedded_clickhouse.config import EngineConfig
from embedded_clickhouse.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_Settings = TypeVar("_Settings", EngineConfig, Limits)

# Types of the settings as they are written in their classes, and what may stand for them in a file.
_ACCEPTED: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
_NOUNS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
_PARAMETER = re.compile(r"^:param (?P<name>\w+): (?P<meaning>.*?)(?=^:|\Z)", re.DOTALL | re.MULTILINE)


class ConfigError(ValueError):
    """The file says something that cannot be; the message names the file and the place."""


def read_config(path: Path) -> tuple[EngineConfig, Limits]:
    """Read the file; what it does not say keeps its default.

    :raises ConfigError: it is no TOML, a name is unknown, a value is of the wrong type or out of bounds.
    :raises OSError: it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: this is no TOML: {error}") from error
    _check_names(str(path), content, ("engine", "limits"))
    return (
        _section(path, "engine", content.get("engine", {}), EngineConfig),
        _section(path, "limits", content.get("limits", {}), Limits),
    )


def explained(settings: type[EngineConfig] | type[Limits]) -> Iterator[tuple[str, str]]:
    """Each setting with its default, as in a file, and what it means."""
    meanings = {
        match["name"]: " ".join(match["meaning"].split())
        for match in _PARAMETER.finditer(inspect.getdoc(settings) or "")
    }
    for field in fields(settings):
        # A text, a truth and a number are written in TOML as in JSON.
        yield f"{field.name} = {json.dumps(field.default)}", meanings.get(field.name, "")


def _section(path: Path, section: str, values: Any, settings: type[_Settings]) -> _Settings:
    place = f"{path}: [{section}]"
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {section} must be a section, [{section}], not a value")
    types = {field.name: str(field.type) for field in fields(settings)}
    _check_names(place, values, types)
    for name, value in values.items():
        _check_type(f"{place} {name}", value, types[name])
    try:
        return settings(**values)
    except ValueError as error:
        raise ConfigError(f"{place} {error}") from error


def _check_names(place: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{place} has the unknown name {name!r}; known are {', '.join(known)}")


def _check_type(place: str, value: Any, expected: str) -> None:
    # In Python a bool is an int as well.
    fits = isinstance(value, _ACCEPTED[expected]) and (expected == "bool" or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{place} must be {_NOUNS[expected]}, not {value!r}")
