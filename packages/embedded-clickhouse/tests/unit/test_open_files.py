"""The limit of open files, in processes of its own: the hard limit cannot be raised again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clickhouse_testkit.source import SOURCE

_PROBE = """
import logging, resource, sys
from embedded_clickhouse.open_files import raise_file_limit
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "warns"),
    [(256, 256, True), (256, 900, True), (256, 1024, False), (256, 4096, False), (2048, 4096, False)],
)
def test_the_soft_limit_is_raised_and_a_low_one_is_said(soft: int, hard: int, warns: bool) -> None:
    command = [sys.executable, "-c", _PROBE, str(soft), str(hard)]
    lines = subprocess.run(
        command, cwd=SOURCE, capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
    assert lines[-1] == f"{hard} ({hard}, {hard})"
    assert len(lines) == 1 + warns
    assert not warns or lines[0].startswith(f"WARNING Only {hard} files may be open at once.")
