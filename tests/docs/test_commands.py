"""Commands in the pages' blocks and tables are commands that there are."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

import pytest

from local.__main__ import parser
from tests.conftest import ROOT
from tests.docs.blocks import pages

_CODE = re.compile(r"^ *```\w*\n(.*?)^ *```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
_TARGETS = set(re.findall(r"^([a-z][\w -]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMMANDS = set(re.findall(r"^ {4}([a-z]+) ", parser().format_help(), re.MULTILINE))
TARGETS = {target for line in _TARGETS for target in line.split()}


@dataclass(frozen=True)
class Command:
    """:param page: where it stands.

    :param text: from the program's name to the line's end.
    """

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text[:60]}"


def commands(pattern: str) -> list[Command]:
    """Return what follows a program in code on any page, each once."""
    found: dict[Command, None] = {}
    for page in pages():
        name = page.relative_to(ROOT).as_posix()
        for block, inline in _CODE.findall(page.read_text(encoding="utf-8")):
            code = re.sub(r"(^| )#.*$", "", block or inline, flags=re.MULTILINE)
            for match in re.finditer(rf"(?:^|[\s(;|])(?:{pattern}) +([^\n]*)", code):
                found[Command(name, match[1].strip())] = None
    return list(found)


@pytest.mark.parametrize("command", commands("make"), ids=str)
def test_a_make_target_is_there(command: Command) -> None:
    targets = [word for word in shlex.split(command.text) if "=" not in word and word != "…"]
    assert targets
    assert set(targets) <= TARGETS, command


@pytest.mark.parametrize("command", commands(r"\S*python3? -m local"), ids=str)
def test_a_command_of_the_embedded_stack_takes_these_arguments(command: Command) -> None:
    words = [word for word in shlex.split(command.text.rstrip(")&")) if word != "…"]
    # What follows `airflow` is Airflow's own.
    options = parser().parse_args(words[:1] if words[0] == "airflow" else words)
    assert options.command == words[0]


def test_the_commands_of_the_lock_are_commands() -> None:
    page = (ROOT / "docs" / "how-to-embedded-stack.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| command \|.*?\n\n", page, re.MULTILINE | re.DOTALL)
    named = re.findall(r"`([a-z]+)`", table)
    assert len(named) > 10
    for name in named:
        # As a make target, or as `python -m local NAME`, or both.
        assert name in TARGETS | COMMANDS, name
