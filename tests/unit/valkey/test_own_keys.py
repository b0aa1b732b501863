"""What a pipeline has for a key of a loop's own."""

from __future__ import annotations

import pytest
from redis.exceptions import BusyLoadingError, NoPermissionError, ResponseError

from maxy.valkey.own_keys import own_answer

WRONG_TYPE = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


@pytest.mark.parametrize("answer", [{b"visit": b"3"}, {}, [], None, 0, b"text"], ids=repr)
def test_an_answer_is_handed_on(answer: object) -> None:
    assert own_answer(answer, "key") is answer


def test_a_key_of_another_type_counts_as_absent() -> None:
    assert own_answer(WRONG_TYPE, "key") is None


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("MISCONF Valkey is configured to save RDB snapshots"),
        NoPermissionError("this user has no permissions to access one of the keys"),
        BusyLoadingError("Valkey is loading the dataset in memory"),
    ],
    ids=repr,
)
def test_any_other_error_is_raised_and_names_the_key(error: ResponseError) -> None:
    with pytest.raises(type(error), match=r"\(stats:page:shop\)$") as raised:
        own_answer(error, "stats:page:shop")
    assert str(error) in str(raised.value)
