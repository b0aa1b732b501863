"""Have something happen when a publisher of hashes runs one of its scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from maxy.valkey.hashes import HashPublisher


def run_by(publisher: HashPublisher, run: Callable[..., Any]) -> None:
    """Have a publisher's scripts run by a function, which takes what ``GroupScripts.run`` does."""
    # Nothing is to be undone: the publisher is the test's own.
    pytest.MonkeyPatch().setattr(publisher._scripts, "run", run)


def after_script(publisher: HashPublisher, name: str, act: Callable[[Any], Any]) -> None:
    """Have something happen after each run of a script.

    :param act: takes the script's keys but the group's own.
    """
    run = publisher._scripts.run

    def run_and_act(script: str, arguments: Any, *, keys: Any = ()) -> Any:
        answer = run(script, arguments, keys=keys)
        if script == name:
            act(keys)
        return answer

    run_by(publisher, run_and_act)
