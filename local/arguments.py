"""Types of command line options."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Number = TypeVar("_Number", int, float)


def positive(number: Callable[[str], _Number]) -> Callable[[str], _Number]:
    """Return a type for numbers above 0.

    :param number: reads the text; ValueError for one that is no number.
    """

    def parse(text: str) -> _Number:
        with contextlib.suppress(ValueError):
            if (value := number(text)) > 0:
                return value
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text}")

    return parse
