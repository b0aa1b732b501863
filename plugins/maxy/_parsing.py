"""Settings that arrive as text: rendered template fields and environment variables."""

from __future__ import annotations

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def parse_bool(text: str) -> bool:
    """Return the truth value that a word stands for, in any case.

    :raises ValueError: for any other word.
    """
    try:
        return _WORDS[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None


def as_bool(value: bool | str, name: str) -> bool:
    """Return a truth value given as such or as a word.

    :raises ValueError: naming the setting, for any other word.
    """
    if isinstance(value, bool):
        return value
    try:
        return parse_bool(value.strip())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def as_positive_int(value: object, name: str, *, most: int | None = None) -> int:
    """Return a whole number above 0 given as such or as text.

    :param most: the highest number that is accepted.
    :raises ValueError: naming the setting, for anything else, such as a truth value or 1.0.
    """
    number = value
    if isinstance(value, str):
        word = value.strip()
        number = int(word) if word.isascii() and word.isdigit() else None
    if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
        raise ValueError(f"{name}: {value!r} is not a whole number above 0")
    if most is not None and number > most:
        raise ValueError(f"{name}: {value!r} is more than {most}")
    return number


def as_log_limit(value: bool | int | str, name: str, *, default: int) -> int | None:
    """Return how many entries are logged: None for all of them.

    :param value: true for the default, false for none, ``all``, or a whole number of 0 or more; as such or as text.
    :param default: what true stands for.
    :raises ValueError: naming the setting, for anything else.
    """
    limit: object = value
    if isinstance(value, str):
        word = value.strip().lower()
        if word == "all":
            return None
        # A digit is a number here and no truth value.
        limit = int(word) if word.isascii() and word.isdigit() else _WORDS.get(word)
    if isinstance(limit, bool):
        return default if limit else 0
    if not isinstance(limit, int) or limit < 0:
        raise ValueError(f"{name}: {value!r} is not true, false, all or a whole number of keys")
    return limit
