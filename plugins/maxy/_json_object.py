"""Reads a JSON object that people have written."""

from __future__ import annotations

import json
from typing import Any


class _GivenTwiceError(ValueError):
    """A name stands in an object twice."""


def read_json_object(text: str, *, where: str) -> dict[str, Any]:
    """Return what a JSON object holds.

    :param where: what the text is called, for errors.
    :raises ValueError: naming the place, if the text is none, or a name stands in one object twice.
    """
    try:
        given = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
    except _GivenTwiceError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{where}: expected a JSON object")
    return given


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Make an object of JSON; of a name that is there twice, one value would be dropped silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        every = [name for name, _ in pairs]
        raise _GivenTwiceError(f"{where}: {next(name for name in every if every.count(name) > 1)} is given twice")
    return content
