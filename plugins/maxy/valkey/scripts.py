"""The package's Lua scripts, each a file in the folder ``lua`` beside the module that runs it."""

from __future__ import annotations

from pathlib import Path

_OWN = Path(__file__).parent / "lua"


def read_script(name: str, *, directory: Path = _OWN) -> str:
    """Return the text of a script.

    :param name: of the file, without ``.lua``.
    :param directory: where it is; this package's own folder unless given.
    """
    return (directory / f"{name}.lua").read_text(encoding="utf-8")
