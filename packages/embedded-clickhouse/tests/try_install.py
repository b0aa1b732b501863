"""Install the package as a stranger does, into an empty environment, and run a test of three lines there.

Needs uv and the package index; prints how long each step takes and how large the environment is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_TEST = """\
def test_counts(embedded_clickhouse):
    embedded_clickhouse.query("CREATE TABLE visits (user UInt32) ENGINE = Memory")
    assert embedded_clickhouse.query("SELECT count() FROM visits") == "0"
"""


def main() -> int:
    """Do it, and return the exit status."""
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if uv is None:
        print("uv is needed: pip install uv", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="embedded-clickhouse-") as folder:
        venv, project = Path(folder) / "venv", Path(folder) / "project"
        project.mkdir()
        (project / "test_visits.py").write_text(_TEST)
        python = str(venv / "bin" / "python")
        # Only what a stranger has: nothing of this environment.
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        for what, command in {
            "empty environment": [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
            "installed": [uv, "pip", "install", "--quiet", "--python", python, str(_PACKAGE), "pytest"],
            "first test": [python, "-m", "pytest", "-q"],
            "next test": [python, "-m", "pytest", "-q"],
            "command": [str(venv / "bin" / "embedded-clickhouse"), "serve", "--help"],
        }.items():
            began = time.monotonic()
            done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
            print(f"{what:<18}{time.monotonic() - began:6.1f} s")
            if done.returncode != 0:
                print(done.stdout + done.stderr, file=sys.stderr)
                return 1
        print(f"{'size':<18}{_megabytes(venv):6.0f} MB, of which chdb {_megabytes(*venv.glob('lib/*/*/chdb*')):.0f} MB")
    return 0


def _megabytes(*folders: Path) -> float:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
