"""Keys of a live loop that hold something that no loop has written there.

Valkey is shared, and a key can be given another type, or other content, by anybody: by a client with a typing error, a
tool that restores a dump, another version. One such key must not stop what a loop does to all its others. So:

- A script that is to change a key of another type replaces it, as if it had been deleted (``own_keys.lua``).
- What a loop reads counts as deleted where it has another type or cannot be understood; the loop starts afresh there,
  as after a deletion, and the tick's write then replaces it.
- Either is counted, for the loop's status, and each key is named in one warning.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from maxy.clock import LARGEST_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

# What a copy names in its log; it is replaced every few hours.
_MOST_NAMED = 200
_LONGEST_NAME = 200


class ReplacedKeys:
    """Counts a copy's replaced keys, and names each once."""

    def __init__(self) -> None:
        #: Since the start of the copy.
        self.count = 0
        self._named: set[str] = set()

    def add(self, count: int, named: Iterable[tuple[bytes | str, bytes | str]]) -> None:
        """Note what a script has replaced.

        :param count: number of keys.
        :param named: some of them, and what each held: a type's name.
        """
        self.count += count
        what = {_shown(key): _shown(found) for key, found in named}
        new = {key: found for key, found in what.items() if key not in self._named}
        if not new or len(self._named) >= _MOST_NAMED:
            return
        self._named |= new.keys()
        last = "; further ones are only counted" if len(self._named) >= _MOST_NAMED else ""
        names = ", ".join(f"{key} ({found})" for key, found in new.items())
        _log.warning("%d keys of this loop held something else and were replaced, such as %s%s", count, names, last)

    def add_unreadable(self, key: str, reason: object) -> None:
        """Note a key that has the right type but cannot be understood.

        :param reason: what is wrong with it.
        """
        self.add(1, [(key, f"cannot be read: {reason}")])


async def read_own(command: Awaitable[_Answer], key: str) -> _Answer | None:
    """Read a key of the loop's own; None if it has another type, which the next write will replace.

    :param command: reads it.
    :param key: for errors.
    :raises redis.ResponseError: for any other error of the server's, naming the key.
    """
    try:
        return await command
    except ResponseError as error:
        if is_wrong_type(error):
            return None
        raise type(error)(f"{error} ({key})") from error


def own_answer(answer: Any, key: str) -> Any:
    """Return what a pipeline has for one of a loop's own keys; None if the key has another type.

    :param answer: of a pipeline that returns errors in the place of answers.
    :param key: for errors.
    :raises redis.RedisError: any other error that the answer is, naming the key.
    """
    if not isinstance(answer, Exception):
        return answer
    if is_wrong_type(answer):
        return None
    raise type(answer)(f"{answer} ({key})") from answer


def is_wrong_type(answer: Any) -> bool:
    """Whether an answer or error of Valkey says that a key has another type."""
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")


def stored_number(value: Any) -> int:
    """Return a number of what a loop has stored, such as an instant in milliseconds.

    :raises ValueError: if it is none, or one that no loop stores.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_MS:
        raise ValueError(f"{value!r} is no number from 0 to {LARGEST_MS}")
    return value


def _shown(text: bytes | str) -> str:
    shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    # A name may hold line breaks, and forge lines of the log.
    shown = shown if shown.isprintable() else repr(shown)[1:-1]
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"
