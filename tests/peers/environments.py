"""A virtual environment for each peer: they cannot share this project's pins, nor each other's."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_ENVIRONMENTS = _FOLDER / ".venv"
_SECONDS = 1200


def lock_of(peer: str) -> Path:
    """Return the file with the exact versions of all that the peer needs."""
    return _FOLDER / "requirements" / f"{peer}.txt"


def ensure_environment(peer: str) -> Path:
    """Return the Python of the peer's environment, which is made anew when the versions have changed.

    :raises subprocess.SubprocessError: it cannot be made; uv has said why.
    """
    environment = _ENVIRONMENTS / peer
    python = environment / "bin/python"
    # Written last, so half an environment is never taken for a whole one.
    stamp = environment / "installed.txt"
    wanted = f"{sys.version}\n{lock_of(peer).read_text(encoding='utf-8')}"
    _ENVIRONMENTS.mkdir(exist_ok=True)
    with (_ENVIRONMENTS / f"{peer}.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            _uv("venv", "--clear", "--python", sys.executable, str(environment))
            _uv("pip", "install", "--python", str(python), "--requirements", str(lock_of(peer)))
            stamp.write_text(wanted, encoding="utf-8")
    return python


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([str(uv), *arguments, "--quiet"], check=True, timeout=_SECONDS)
