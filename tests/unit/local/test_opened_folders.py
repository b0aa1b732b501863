"""Folders that were opened for the database's own user get their modes back."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from local.services.opened_folders import OpenedFolders


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is closed to others, with two checkouts in it."""
    home = tmp_path / "home"
    for folder in (home, home / "one" / "local", home / "two" / "local"):
        folder.mkdir(parents=True)
    home.chmod(0o700)
    (home / "one").chmod(0o750)
    (home / "two").chmod(0o755)
    return home


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedFolders:
    """With a record of the test's own; what lies above the test's folder is not its business."""
    real = Path.chmod

    def guarded(self: Path, mode: int, **options: bool) -> None:
        if self.is_relative_to(tmp_path):
            real(self, mode, **options)

    monkeypatch.setattr(Path, "chmod", guarded)
    return OpenedFolders(tmp_path / "state" / "opened.json")


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def within(paths: list[Path], home: Path) -> list[Path]:
    return [path for path in paths if path.is_relative_to(home)]


def test_what_was_opened_is_closed_and_nothing_else_is_touched(folders: OpenedFolders, home: Path) -> None:
    stack = home / "one" / "local"
    stack.chmod(0o755)

    assert within(folders.open_above([stack], stack), home) == [home, home / "one"]
    assert [mode(folder) for folder in (home, home / "one", stack, home / "two")] == [0o701, 0o751, 0o755, 0o755]

    assert within(folders.close_for(stack), home) == [home, home / "one"]
    assert [mode(folder) for folder in (home, home / "one", stack, home / "two")] == [0o700, 0o750, 0o755, 0o755]
    assert folders.close_for(stack) == []


def test_the_last_stack_that_needs_a_folder_closes_it(folders: OpenedFolders, home: Path) -> None:
    one, two = home / "one" / "local", home / "two" / "local"
    folders.open_above([one], one)
    folders.open_above([two], two)

    folders.close_for(one)
    assert mode(home) == 0o701, "the other stack runs"
    assert mode(home / "one") == 0o750
    folders.close_for(two)
    assert mode(home) == 0o700


def test_starting_again_changes_nothing_of_the_record(folders: OpenedFolders, home: Path) -> None:
    one = home / "one" / "local"
    folders.open_above([one], one)
    # After a power cut, say.
    assert within(folders.open_above([one], one), home) == []

    folders.close_for(one)
    assert mode(home) == 0o700


def test_a_stack_whose_folder_is_gone_keeps_nothing_open(folders: OpenedFolders, home: Path) -> None:
    one, two = home / "one" / "local", home / "two" / "local"
    folders.open_above([one], one)
    folders.open_above([two], two)
    shutil.rmtree(home / "one")

    folders.close_for(two)
    assert mode(home) == 0o700


@pytest.mark.parametrize("chosen", [0o755, 0o700, 0o711])
def test_a_mode_that_somebody_has_chosen_meanwhile_stays(folders: OpenedFolders, home: Path, chosen: int) -> None:
    one = home / "one" / "local"
    folders.open_above([one], one)
    home.chmod(chosen)

    folders.close_for(one)
    assert mode(home) == chosen


def test_nothing_is_opened_that_cannot_be_written_down(folders: OpenedFolders, home: Path, tmp_path: Path) -> None:
    (tmp_path / "state" / "opened.new").mkdir(parents=True)

    with pytest.raises(OSError, match="opened"):
        folders.open_above([home / "one" / "local"], home / "one" / "local")
    assert mode(home) == 0o700


def test_a_damaged_record_is_named(folders: OpenedFolders, home: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "opened.json").write_text("{")

    with pytest.raises(OSError, match=r"opened\.json is damaged"):
        folders.close_for(home / "one" / "local")
