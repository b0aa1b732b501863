"""Names in the CSV, and the name of the file."""

from __future__ import annotations

import unicodedata
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxy.statistics.web.csv_file import content_disposition, harmless
from maxy.statistics.web.models import History, Key


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r1", "\nx",
        "＝1+1", "＋1", "－1", "＠SUM(A1)", "﹦1", "﹢1", "﹣1", "﹫A1", "\u22121",
        " =1", "\u3000＝1", "\u00a0+1", "\u200b=1", "\ufeff-1", " \u200b\u2060 @x", "\x00=1", "\u202e=1",
    ],
)  # fmt: skip
def test_what_a_spreadsheet_might_compute_begins_with_an_apostrophe(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["com.maxy.shop", " com.maxy.padded ", "맥시 쇼핑몰", "a=b", "1+1", "", " ", "🎉", "ㄱ-ㅎ", "~x", "≠"]
)
def test_other_names_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


def named(package: str, system: str = "iOS") -> tuple[str, str]:
    """The plain name and the one in any alphabet that a header gives."""
    answer = History(timezone="UTC", first="2026-11-01", last="2026-11-30", first_computed=None, dag_id="d", days=[])
    header = content_disposition(answer, Key(package_nm=package, server_type=1, os_type=system))
    header.encode("latin-1")
    message = Message()
    message["Content-Disposition"] = header
    encoded = header.partition("filename*=UTF-8''")[2]
    return str(message.get_param("filename", header="Content-Disposition")), unquote(encoded, errors="strict")


def test_a_file_is_named_after_package_server_type_system_and_days() -> None:
    wanted = "max_device_statistic_com.maxy.shop_1_iOS_2026-11-01_2026-11-30.csv"
    assert (
        content_disposition(
            History(timezone="UTC", first="2026-11-01", last="2026-11-30", first_computed=None, dag_id="d", days=[]),
            Key(package_nm="com.maxy.shop", server_type=1, os_type="iOS"),
        )
        == f"attachment; filename=\"{wanted}\"; filename*=UTF-8''{wanted}"
    )


def test_two_packages_in_another_alphabet_have_two_names() -> None:
    one, other = named("맥시 쇼핑몰")[1], named("맥시 은행")[1]
    assert one == "max_device_statistic_맥시-쇼핑몰_1_iOS_2026-11-01_2026-11-30.csv"
    assert one != other


@given(st.text(), st.text())
@example("../../etc/passwd", 'a"; filename="b')
@example("\r\nSet-Cookie: a=b", "\u202egpj.exe")
@example("가" * 300, "x" * 300)
@example("\ud800", "\x00")
def test_no_name_breaks_out_of_the_header_or_the_folder(package: str, system: str) -> None:
    for name in named(package, system):
        assert name.startswith("max_device_statistic_")
        assert name.endswith("_2026-11-01_2026-11-30.csv")
        assert not set(name) & set('\\/:*?"<>|')
        assert not [character for character in name if unicodedata.category(character)[0] == "C"]
        assert len(name.encode()) <= 255 + 50
