from __future__ import annotations

import pytest

from maxy._parsing import as_bool, as_positive_int
from maxy.operators._identifiers import checked_table_name


@pytest.mark.parametrize("name", ["t", "db.t", "_x1", "DB.Table_2"])
def test_plain_table_names_pass(name: str) -> None:
    assert checked_table_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a;DROP TABLE b", "a.b.c", "`a`", "1a", "a.", "t--", "표"])
def test_other_table_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        checked_table_name(name)


def test_truth_values_are_read_as_rendered_templates_have_them() -> None:
    assert as_bool("True", "x") is True
    assert as_bool("false", "x") is False
    assert as_bool(True, "x") is True
    with pytest.raises(ValueError, match=r"allow_empty.*'maybe'"):
        as_bool("maybe", "allow_empty")


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", 0, True, 1.0, None, "１", "1_0", "", [1], 101, "101"])
def test_counts_must_be_above_zero_and_no_more_than_the_most(value: object) -> None:
    assert as_positive_int("12", "expire") == 12
    with pytest.raises(ValueError, match="expire"):
        as_positive_int(value, "expire", most=100)
