from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.valkey.keys import KeyTemplate


def test_plain_names_make_the_documented_key() -> None:
    template = KeyTemplate("daily:{stat_date}:{package_nm}:{server_type}:{os_type}", prefix="stats:realtime:")
    assert template.columns == ["stat_date", "package_nm", "server_type", "os_type"]
    assert list(template.keys([["2026-11-20"], ["com.example"], ["1"], ["iOS"]])) == [
        "stats:realtime:daily:2026-11-20:com.example:1:iOS"
    ]


def test_colons_and_percent_signs_in_values_are_encoded() -> None:
    assert list(KeyTemplate("{a}:{b}").keys([["x:1", "50%"], ["y", "z"]])) == ["x%3A1:y", "50%25:z"]


NAMES = st.text(alphabet="ab:%3A25", max_size=6)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), unique=True, max_size=50))
def test_different_values_give_different_keys(rows: list[tuple[str, str, str]]) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    assert len(set(KeyTemplate("{a}:{b}:{c}").keys(columns))) == len(rows)


def test_text_before_between_and_after_and_doubled_braces_are_literal() -> None:
    assert list(KeyTemplate("x{{y}}:{a}-{b}!", prefix="{p}").keys([["1"], ["2"]])) == ["{p}x{y}:1-2!"]


@pytest.mark.parametrize("template", ["no column", "{}", "{a", "a}", "{a:>5}", "{a!r}"])
def test_malformed_template_is_refused_by_name(template: str) -> None:
    with pytest.raises(ValueError, match="key template") as caught:
        KeyTemplate(template)
    assert repr(template) in str(caught.value)


PARTS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=5)


@given(PARTS)
def test_a_template_can_make_what_it_makes(rows: list[tuple[str, str]]) -> None:
    template = KeyTemplate("s:{a}.{b}:x", prefix="{p}%")
    assert all(template.can_make(key) for key in template.keys(list(zip(*rows, strict=True))))


@pytest.mark.parametrize(
    "key",
    ["s:a.b", "{p}s:a:x", "{p}s:a.b:y", "{p}s:a.b:x:", "{p}s:50%.b:x", "{p}s:a%3a.b:x", "{p}s:a:c.b:x", " {p}s:a.b:x"],
)
def test_a_template_cannot_make_other_keys(key: str) -> None:
    template = KeyTemplate("s:{a}.{b}:x", prefix="{p}")
    assert template.can_make("{p}s:a%3A.b:x")
    assert not template.can_make(key)
