"""docs/production.md: its blocks that need neither docker nor a running stack, carried out."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from tests.conftest import ROOT
from tests.docs.blocks import blocks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.blocks import Block

PAGE = "docs/production.md"


def follow(block: Block, folder: Path) -> list[str]:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
    return done.stdout.splitlines()


def test_every_secret_of_the_first_start_can_be_made_as_told(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.example", tmp_path)
    password, api_secret, fernet_key = follow(blocks(PAGE, "sh", under="First start")[0], tmp_path)
    # As .env.example has it: letters, digits, "-" and "_".
    assert all(re.fullmatch(r"[\w-]{43,}", secret, re.ASCII) for secret in (password, api_secret))
    Fernet(fernet_key)
    copied = tmp_path / ".env"
    assert copied.read_bytes() == (ROOT / ".env.example").read_bytes()
    assert copied.stat().st_mode & 0o777 == 0o600


def test_the_archive_for_homes_that_take_only_plugins_has_the_sql(tmp_path: Path) -> None:
    for name in ("plugins", "include"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (block,) = blocks(PAGE, "sh", under="In an Airflow home that exists already")
    follow(block, tmp_path)
    with zipfile.ZipFile(tmp_path / "build" / "plugins.zip") as archive:
        names = set(archive.namelist())
    rollup = "include/sql/statistics/device_statistic/rollup.sql"
    assert {"maxy_plugin.py", ".airflowignore", "maxy/paths.py", rollup} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_what_needs_docker_is_named_on_the_page_and_nothing_else_is_left_out() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert "Blocks that call `docker` are **not carried out**" in page
    carried_out = [block.heading for block in blocks(PAGE, "sh") if "docker" not in block.text]
    # The second one by tests/e2e/test_as_documented.py, on a whole stack.
    assert carried_out == ["First start", "Every day", "In an Airflow home that exists already"]
