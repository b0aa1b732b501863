"""Quoting of names and values that become part of a statement."""

from __future__ import annotations

import re

from embedded_clickhouse.errors import EngineError

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_$]+")


def quote_string(value: str) -> str:
    """A string literal with this value."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_identifier(name: str) -> str:
    """A quoted name of a database, table or column."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def checked_text(what: str, value: str) -> str:
    """Return a text that the engine can take.

    :raises EngineError: 36 for what came as bytes that are not UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EngineError(36, "BAD_ARGUMENTS", f"The value of {what!r} is not UTF-8") from error
    return value


def is_setting_name(name: str) -> bool:
    """Whether the engine could know a setting of this name at all."""
    return _SETTING_NAME.fullmatch(name) is not None


def is_parameter_name(name: str) -> bool:
    """Whether ``{name:Type}`` can have this name."""
    return _PARAMETER_NAME.fullmatch(name) is not None
