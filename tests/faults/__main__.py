"""Faults of the machine on a whole embedded stack of its own: `make test-faults`.

Clock steps, clocks that differ, full disks, a power cut, few open files, and two of every command at once. It needs
root on Linux, for it mounts small file systems and a /proc/stat of its own, in a mount namespace that goes with it.
Prints a table of what was seen, and leaves nothing behind; status 0 only when everything went as it should.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.e2e.conftest import RunningStack, own_environment
from tests.faults import clocks, concurrency, disks, limits
from tests.faults.rig import Rig, TimeIsUp

_IN_NAMESPACE = "MAXY_FAULTS_NAMESPACE"
#: In the order in which they are tried, by name.
GROUPS = {"clocks": clocks.try_all, "disks": disks.try_all, "limits": limits.try_all, "commands": concurrency.try_all}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=40.0, help="give up after so many (default: 40)")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}; the groups are {', '.join(GROUPS)}")
    if sys.platform != "linux" or os.geteuid() != 0:
        print("test-faults needs root on Linux: it mounts file systems", file=sys.stderr)
        return 2
    if _IN_NAMESPACE not in os.environ:
        command = ["unshare", "--mount", sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execvpe("unshare", command, os.environ | {_IN_NAMESPACE: "1"})
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, options.minutes * 60)
    return _try(options.groups or list(GROUPS))


def _try(groups: list[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="maxy-faults-"))
    rig = Rig(RunningStack.of(own_environment(folder / "local")), folder)
    try:
        rig.expect("start", "comes up, on a folder that is closed to others", lambda: _start(rig))
        for group in groups:
            GROUPS[group](rig)
        rig.expect("end", "ends, and the folder is closed to others again", lambda: _end(rig))
    finally:
        rig.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
        print(f"\n{rig.table()}")
    return 0 if rig.all_well else 1


def _start(rig: Rig) -> str:
    rig.folder.chmod(0o700)
    rig.run("up").must_succeed()
    rig.run("status").must_succeed()
    return f"all parts work; the folder's mode is {_mode(rig.folder)} meanwhile"


def _end(rig: Rig) -> str:
    rig.run("down").must_succeed()
    assert rig.processes() == [], rig.processes()
    assert _mode(rig.folder) == "700", _mode(rig.folder)
    return "no process left, mode 700"


def _mode(folder: Path) -> str:
    return f"{folder.stat().st_mode & 0o777:o}"


def _give_up(*_: object) -> None:
    raise TimeIsUp("the time is up: see --minutes")


if __name__ == "__main__":
    sys.exit(main())
