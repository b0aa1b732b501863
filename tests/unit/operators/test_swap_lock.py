"""The lock that lets one task at a time swap partitions of a table, with a server and a clock of the test's own."""

from __future__ import annotations

import re
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException

from maxy.operators._swap_lock import swap_lock

if TYPE_CHECKING:
    from collections.abc import Callable


class Server:
    """Knows the tables that a lock is made of, and a clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.comments: dict[str, str] = {}
        self.seconds = 0.0
        self.happens: dict[float, Callable[[], None]] = {}
        self.broken = False

    def run(self, statement: str, *, place: str, parameters: Any = None) -> Any:
        if self.broken:
            raise AirflowException("the server is gone")
        if created := re.fullmatch(r"CREATE TABLE IF NOT EXISTS (\S+) .* COMMENT '(.*)'", statement):
            self.comments.setdefault(created[1], created[2])
        elif dropped := re.fullmatch(r"DROP TABLE IF EXISTS (\S+) SYNC", statement):
            self.comments.pop(dropped[1], None)
        else:
            name = f"{parameters['database']}.{parameters['table']}".lstrip(".")
            comment = self.comments.get(name)
            return SimpleNamespace(rows=[] if comment is None else [(comment,)])
        return SimpleNamespace(rows=[])

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for at in [at for at in self.happens if at <= self.seconds]:
            self.happens.pop(at)()

    def lock(self, table: str = "db.target", holder: str = "target__stage_me_2") -> Any:
        return swap_lock(
            self.run, table, holder=holder, own="target__stage_me_", monotonic=lambda: self.seconds, sleep=self.sleep
        )


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.mark.parametrize("table", ["db.target", "target"])
def test_is_held_while_the_block_runs_and_given_back_after_it(server: Server, table: str) -> None:
    with server.lock(table):
        assert server.comments == {f"{table}__swap": "target__stage_me_2"}
    assert server.comments == {}
    assert server.seconds == 0


def test_is_given_back_after_an_error(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), server.lock():
        _ = 1 / 0
    assert server.comments == {}


def test_an_error_of_giving_it_back_does_not_hide_that_of_the_block(server: Server) -> None:
    def break_both() -> float:
        server.broken = True
        return 1 / 0

    with pytest.raises(ZeroDivisionError), server.lock():
        break_both()


def test_waits_until_others_give_it_back(server: Server) -> None:
    server.comments["db.target__swap"] = "target__stage_other_1"
    server.happens = {
        100.0: lambda: server.comments.update({"db.target__swap": "target__stage_third_1"}),
        200.0: server.comments.clear,
    }
    with server.lock():
        assert server.comments == {"db.target__swap": "target__stage_me_2"}
    # Neither of the two held it for two minutes.
    assert 200 <= server.seconds < 201


def test_that_of_a_dead_holder_is_taken_away(server: Server) -> None:
    server.comments["db.target__swap"] = "target__stage_other_1"
    with server.lock():
        assert server.comments == {"db.target__swap": "target__stage_me_2"}
    assert 120 <= server.seconds < 121


def test_that_of_an_earlier_try_of_the_same_task_is_taken_away_at_once(server: Server) -> None:
    server.comments["db.target__swap"] = "target__stage_me_1"
    with server.lock():
        assert server.comments == {"db.target__swap": "target__stage_me_2"}
    assert server.seconds == 0


def test_gives_up_after_ten_minutes_of_others(server: Server) -> None:
    server.comments["db.target__swap"] = "target__stage_other_0"

    def pass_on(number: int) -> None:
        server.comments["db.target__swap"] = f"target__stage_other_{number}"

    server.happens = {100.0 * number: partial(pass_on, number) for number in range(1, 8)}
    with pytest.raises(AirflowException, match=r"db\.target__swap: other tasks hold it since 600 s, .*other_[56]"):
        server.lock().__enter__()
    assert server.comments["db.target__swap"].startswith("target__stage_other_")
