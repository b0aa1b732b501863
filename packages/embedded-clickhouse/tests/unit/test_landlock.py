"""The wall around a process, tried in processes of its own: nothing takes it down again."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from clickhouse_testkit.source import SOURCE

if TYPE_CHECKING:
    from pathlib import Path

_PROBE = """
import json, os, subprocess, sys
from pathlib import Path
from embedded_clickhouse.landlock import is_restricted, restrict_files
own, outside = Path(sys.argv[1]), Path(sys.argv[2])
assert not is_restricted()
if not restrict_files([own]):
    sys.exit(77)
assert is_restricted()

def attempt(action):
    try:
        action()
    except PermissionError:
        return "refused"
    return "done"

(own / "a").mkdir()
(own / "b").mkdir()
results = {
    "write own": attempt(lambda: (own / "a" / "x").write_text("1")),
    "move own": attempt(lambda: (own / "a" / "x").rename(own / "b" / "x")),
    "cut own": attempt(lambda: os.truncate(own / "b" / "x", 0)),
    "read outside": attempt(lambda: (outside / "secret").read_text()),
    "read by a link": attempt(lambda: (own / "link").read_text()),
    "list outside": attempt(lambda: os.listdir(outside)),
    "write outside": attempt(lambda: (outside / "new").write_text("1")),
    "cut outside": attempt(lambda: os.truncate(outside / "secret", 0)),
    "remove outside": attempt(lambda: (outside / "secret").unlink()),
    "read passwords": attempt(lambda: Path("/etc/shadow").read_bytes()),
    "read a process": attempt(lambda: Path("/proc/self/stat").read_text()),
    "import": attempt(lambda: __import__("sqlite3")),
}
child = subprocess.run([sys.executable, "-c", "open(" + repr(str(outside / "secret")) + ")"], capture_output=True)
results["child"] = "refused" if b"PermissionError" in child.stderr else "done"
print(json.dumps(results))
"""


def test_only_the_given_folders_and_the_system_stay_open(tmp_path: Path) -> None:
    own, outside = tmp_path / "own", tmp_path / "outside"
    own.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("words")
    (own / "link").symlink_to(outside / "secret")
    command = [sys.executable, "-c", _PROBE, str(own), str(outside)]
    probe = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60, check=False)
    if probe.returncode == 77:
        pytest.skip("This kernel has no Landlock.")
    assert probe.returncode == 0, probe.stderr
    refused = {"read outside", "read by a link", "list outside", "write outside", "cut outside", "remove outside"}
    expected = dict.fromkeys(("write own", "move own", "cut own", *sorted(refused), "read passwords"), "done")
    expected |= dict.fromkeys((*refused, "read passwords", "child"), "refused")
    expected |= {"read a process": "done", "import": "done"}
    assert json.loads(probe.stdout) == expected
    assert (outside / "secret").read_text() == "words"
