"""The lock between commands of the stack."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from local.lock import StackLock, locked_file
from local.settings import read_settings
from local.stack import Progress, Stack

if TYPE_CHECKING:
    from pathlib import Path

    from local.settings import Settings


def is_locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_second_command_is_told_for_whom_it_waits(tmp_path: Path) -> None:
    path = tmp_path / "stack" / "up.lock"
    waiting = threading.Event()
    lines: list[str] = []
    order: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        waiting.set()

    def second() -> None:
        with StackLock(path, command="down", report=report).held():
            order.append("second")

    with StackLock(path, command="seed", report=report).held():
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]
    assert lines == [f"another command (`seed`, pid {os.getpid()}) is at work on the stack: waiting for it"]


def test_a_command_may_take_its_own_lock_again(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    lock = StackLock(path, command="run", report=lambda line: None)

    with lock.held() as is_first:
        assert is_first
        with lock.held() as is_first:
            assert not is_first
        assert is_locked(path), "the inner one does not give it away"
    assert not is_locked(path)


def test_an_error_gives_the_lock_away(tmp_path: Path) -> None:
    lock = StackLock(tmp_path / "up.lock", command="run", report=lambda line: None)

    with pytest.raises(ZeroDivisionError), lock.held():
        raise ZeroDivisionError
    assert not is_locked(tmp_path / "up.lock")
    with lock.held() as is_first:
        assert is_first


def test_who_waited_for_a_removed_lock_file_holds_the_new_one(tmp_path: Path) -> None:
    """As `clean` removes it: a third command must not get a lock beside the second one's."""
    folder = tmp_path / "stack"
    path = folder / "up.lock"
    waiting, held, done = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with locked_file(path, report_holder=lambda text: waiting.set()):
            held.set()
            done.wait(10)

    with locked_file(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        path.unlink()
        folder.rmdir()
    assert held.wait(10)
    try:
        assert is_locked(path)
    finally:
        done.set()
        thread.join(10)


def test_a_command_that_waited_for_clean_has_the_new_passwords(tmp_path: Path) -> None:
    def settings() -> Settings:
        return read_settings(tmp_path, {})

    def stack(command: str) -> Stack:
        return Stack(read_settings(tmp_path, {}), Progress(lambda line: None), command=command, read_settings=settings)

    up, clean = stack("up"), stack("clean")
    before = up.settings.valkey_password
    with clean.exclusive():
        clean.remove_data()
    assert not (tmp_path / ".local").exists()

    with up.exclusive():
        assert up.settings.valkey_password != before
        assert up.settings == read_settings(tmp_path, {}), "what it starts is what others will find"
        assert up.valkey._settings is up.settings


def test_a_full_disk_does_not_keep_a_command_from_its_lock(tmp_path: Path) -> None:
    # Every write fails here, as on a full disk, where `down` is wanted most.
    path = tmp_path / "up.lock"
    path.symlink_to("/dev/full")
    with StackLock(path, command="down", report=lambda line: None).held() as is_first:
        assert is_first
