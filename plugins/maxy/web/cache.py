"""Answers that many viewers ask for are computed once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

Value = TypeVar("Value")


class SharedAnswers(Generic[Value]):
    """Keeps answers for some seconds; whoever asks for one that is being computed waits for that.

    An error is told to all who wait, and is not kept. Belongs to one event loop.

    :param seconds: how long an answer is kept.
    :param monotonic: seconds that only grow.
    :param most: how many are kept; the oldest is forgotten first. Those that are too old go with the next question.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float], *, most: int = 256) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._most = most
        self._answers: OrderedDict[Hashable, tuple[float, asyncio.Task[Value]]] = OrderedDict()

    async def get(self, key: Hashable, compute: Callable[[], Awaitable[Value]]) -> Value:
        """Return the answer for a key.

        :param compute: asks for it.
        """
        known = self._answers.get(key)
        if known is not None and (not known[1].done() or known[0] > self._monotonic()):
            # Shielded: a viewer who leaves must not take the answer from the others.
            return await asyncio.shield(known[1])
        self._forget_old()
        task = asyncio.ensure_future(self._computed(key, compute))
        self._answers[key] = (float("inf"), task)
        self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)
        return await asyncio.shield(task)

    async def _computed(self, key: Hashable, compute: Callable[[], Awaitable[Value]]) -> Value:
        task = asyncio.current_task()
        try:
            value = await compute()
        except BaseException:
            self._keep(key, task, until=float("-inf"))
            raise
        self._keep(key, task, until=self._monotonic() + self._seconds)
        return value

    def _forget_old(self) -> None:
        now = self._monotonic()
        for key in [key for key, (until, _) in self._answers.items() if until <= now]:
            del self._answers[key]

    def _keep(self, key: Hashable, task: asyncio.Task[Value] | None, until: float) -> None:
        known = self._answers.get(key)
        # Forgotten meanwhile, or replaced: then there is nothing to note.
        if known is not None and known[1] is task:
            self._answers[key] = (until, known[1])
