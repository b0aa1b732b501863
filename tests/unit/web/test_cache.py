"""Answers that are shared: who waits for what, and what is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from maxy.web.cache import SharedAnswers

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Question:
    """Counts how often it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.released = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        await self.released.wait()
        if self.error:
            raise self.error
        return number


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(story)


async def settle() -> None:
    """Let the tasks run that are ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_many_who_ask_at_once_are_one_question() -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time()), Question()
        waiting = [asyncio.ensure_future(answers.get("a", question)) for _ in range(20)]
        await settle()
        question.released.set()
        assert await asyncio.gather(*waiting) == [1] * 20
        assert question.asked == 1

    run(story())


def test_an_answer_is_kept_for_its_time_from_when_it_came() -> None:
    async def story() -> None:
        time = Time()
        answers, question = SharedAnswers[int](2.0, time), Question()
        first = asyncio.ensure_future(answers.get("a", question))
        await settle()
        time.now += 60
        question.released.set()
        assert await first == 1
        time.now += 1.9
        assert await answers.get("a", question) == 1
        time.now += 0.1
        assert await answers.get("a", question) == 2

    run(story())


def test_a_question_that_takes_long_is_not_asked_again_meanwhile() -> None:
    async def story() -> None:
        time = Time()
        answers, question = SharedAnswers[int](2.0, time), Question()
        first = asyncio.ensure_future(answers.get("a", question))
        await settle()
        time.now += 3600
        # Another question does not make it forgotten.
        other = Question()
        other.released.set()
        await answers.get("b", other)
        second = asyncio.ensure_future(answers.get("a", question))
        await settle()
        question.released.set()
        assert [await first, await second, question.asked] == [1, 1, 1]

    run(story())


def test_different_keys_are_different_questions() -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time()), Question()
        question.released.set()
        assert [await answers.get(key, question) for key in ("a", "b", ("a", "b"), "a")] == [1, 2, 3, 1]

    run(story())


def test_an_error_is_told_to_all_who_wait_and_not_kept() -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time()), Question()
        question.error = OSError("gone")
        waiting = [asyncio.ensure_future(answers.get("a", question)) for _ in range(3)]
        await settle()
        question.released.set()
        assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["gone"] * 3
        question.error = None
        assert await answers.get("a", question) == 2

    run(story())


@pytest.mark.parametrize("leaves", [0, 1])
def test_one_who_leaves_does_not_take_the_answer_from_the_others(leaves: int) -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time()), Question()
        waiting = [asyncio.ensure_future(answers.get("a", question)) for _ in range(2)]
        await settle()
        waiting[leaves].cancel()
        await settle()
        assert waiting[leaves].cancelled()
        question.released.set()
        assert await waiting[1 - leaves] == 1
        # Nor from one who comes later.
        assert await answers.get("a", question) == 1

    run(story())


def test_an_answer_that_nobody_waits_for_any_more_is_kept() -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time()), Question()
        alone = asyncio.ensure_future(answers.get("a", question))
        await settle()
        alone.cancel()
        question.released.set()
        await settle()
        assert await answers.get("a", question) == 1

    run(story())


def test_only_so_many_are_kept_and_the_oldest_goes_first() -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time(), most=3), Question()
        question.released.set()
        for key in range(1000):
            await answers.get(key, question)
            assert len(answers._answers) <= 3
        assert [await answers.get(key, question) for key in (999, 998, 997)] == [1000, 999, 998]
        assert await answers.get(0, question) == 1001

    run(story())


def test_a_question_that_was_pushed_out_still_has_its_answer() -> None:
    async def story() -> None:
        answers, question = SharedAnswers[int](2.0, Time(), most=1), Question()
        waiting = [asyncio.ensure_future(answers.get(key, question)) for key in range(5)]
        await settle()
        question.released.set()
        assert await asyncio.gather(*waiting) == [1, 2, 3, 4, 5]

    run(story())


def test_what_is_too_old_is_not_kept_in_memory() -> None:
    async def story() -> None:
        time = Time()
        answers, question = SharedAnswers[int](2.0, time), Question()
        question.released.set()
        for key in range(50):
            await answers.get(key, question)
        time.now += 2.0
        await answers.get("new", question)
        assert list(answers._answers) == ["new"]

    run(story())
