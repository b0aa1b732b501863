"""Days of a key as a CSV file, for spreadsheets."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from maxy.statistics.web.models import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.statistics.web.models import History, Key

#: Without it, Excel takes the file for one in the code page of its country.
BYTE_ORDER_MARK = "\ufeff"
_CONTROLS = ("\t", "\r", "\n")
# The minus sign has no other form; full-width, small and raised ones become these by NFKC.
_FORMULA_SIGNS = frozenset("=+-@\u2212")
# Blanks, controls, and characters that are not seen.
_UNSEEN = ("Z", "C")
# What some system does not allow in names of files.
_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\s]+')
_LONGEST_PART_BYTES = 120


def as_csv(answer: History, key: Key) -> str:
    """Write the days as CSV, with the names of the table's columns.

    What is not known is empty: days without a row, and averages of which nothing was measured. Texts that a
    spreadsheet would take for a formula begin with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["stat_date", "package_nm", "server_type", "os_type", *METRICS, "updated_at", "state"])
    for day in answer.days:
        figures: Mapping[str, Any] = day.figures or {}
        writer.writerow(
            [
                day.stat_date,
                harmless(key.package_nm),
                key.server_type,
                harmless(key.os_type),
                *(figures.get(metric) for metric in METRICS),
                day.updated_at,
                day.state,
            ]
        )
    return text.getvalue()


def harmless(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet might compute."""
    return f"'{text}" if text[:1] in _CONTROLS or _begins_formula(text) else text


def _begins_formula(text: str) -> bool:
    # Spreadsheets skip blanks, and read full-width signs, which East Asian keyboards write, as the usual ones.
    for character in text:
        if unicodedata.category(character)[0] not in _UNSEEN:
            return unicodedata.normalize("NFKC", character)[:1] in _FORMULA_SIGNS
    return False


def content_disposition(answer: History, key: Key) -> str:
    """Name the file after what is in it: the header's value, by RFC 6266, with other alphabets as RFC 5987 has them."""
    parts = (
        "max_device_statistic", key.package_nm, str(key.server_type), key.os_type, answer.first, answer.last
    )  # fmt: skip
    name = "_".join(_name_part(part) for part in parts) + ".csv"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _name_part(text: str) -> str:
    seen = "".join(
        character for character in text if unicodedata.category(character)[0] != "C" or character in _CONTROLS
    )
    safe = _NOT_IN_NAMES.sub("-", seen).strip("-. ")
    return safe.encode("utf-8", "replace")[:_LONGEST_PART_BYTES].decode("utf-8", "ignore") or "-"
