"""Tools that others wrote for ClickHouse, on an embedded server of their own: `make test-peers`.

Each peer is installed into an environment of its own, the first time, and carries out what its users do. What must
come out is computed in plain Python. Prints what was checked, then a table; status 0 only when everything came out so.
It leaves nothing behind but the environments, in tests/peers/.venv.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_clickhouse.testing import running_server
from tests.peers.environments import ensure_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedded_clickhouse.testing import Server

PEERS = ("dlt", "dbt", "ibis")
_FLOWS = Path(__file__).resolve().parent / "flows"


@dataclass(frozen=True)
class Result:
    """What came of a peer's flow.

    :param passed: what came out as expected; ``failed`` what did not.
    :param error: why the flow did not get to its end, or nothing.
    """

    peer: str
    seconds: float
    passed: Sequence[str] = ()
    failed: Sequence[str] = ()
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def well(self) -> bool:
        return bool(self.passed) and not self.failed and not self.error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each flow, then it is ended (default: 10)")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; the peers are {', '.join(PEERS)}")
    results = [_try(peer, options.minutes * 60) for peer in options.peers or PEERS]
    print(f"\n{_table(results)}")
    return 0 if all(result.well for result in results) else 1


def _try(peer: str, seconds: float) -> Result:
    """Carry out the peer's flow on a server that is there for it alone."""
    print(f"\n{peer}", flush=True)
    try:
        python = ensure_environment(peer)
    except subprocess.SubprocessError as error:
        return Result(peer, 0.0, error=f"cannot be installed: {error}")
    with (
        tempfile.TemporaryDirectory(prefix=f"peers-{peer}-") as folder,
        running_server(Path(folder) / "server") as server,
    ):
        return _flow(peer, python, server, Path(folder), seconds)


def _flow(peer: str, python: Path, server: Server, folder: Path, seconds: float) -> Result:
    report = folder / "report.json"
    scratch = folder / "scratch"
    scratch.mkdir()
    begun = time.monotonic()
    # A group of its own: a tool's own processes end with it.
    process = subprocess.Popen(
        [str(python), str(_FLOWS / f"{peer}_flow.py")],
        env=_environment(server, scratch) | {"PEERS_REPORT": str(report)},
        cwd=scratch,
        start_new_session=True,
    )
    try:
        status = process.wait(seconds)
        error = "" if report.exists() else f"ended with {status} before its end"
    except subprocess.TimeoutExpired:
        error = f"was not done in {seconds:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    content = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return Result(peer, time.monotonic() - begun, error=error, **content)


def _environment(server: Server, scratch: Path) -> dict[str, str]:
    """Return what a flow is told; nothing of a developer's own settings for these tools is in it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(scratch),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PEERS_HOST": server.host,
        "PEERS_HTTP_PORT": str(server.http_port),
        "PEERS_TCP_PORT": str(server.tcp_port),
        "PEERS_USER": server.user,
        "PEERS_PASSWORD": server.password,
        "PEERS_SCRATCH": str(scratch),
    }


def _table(results: Sequence[Result]) -> str:
    lines = ["| peer | checks | pass | fail | seconds | versions |", "|---|---|---|---|---|---|"]
    for result in results:
        passed, failed = len(result.passed), len(result.failed)
        remark = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        remark = "; ".join(part for part in (remark, result.error) if part)
        lines.append(f"| {result.peer} | {passed + failed} | {passed} | {failed} | {result.seconds:.0f} | {remark} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
