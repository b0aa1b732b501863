"""Headers, status codes and errors of HTTP replies, as a ClickHouse server writes them."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedded_clickhouse.errors import EngineError
    from embedded_clickhouse.ticket import Stats

_CONTENT_TYPES = {
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
}
_STATUS_BY_CODE = {
    **dict.fromkeys({6, 26, 27, 36, 38, 41, 43, 44, 53, 62, 69, 72, 117, 376, 441, 456, 457, 675, 676}, 400),
    **dict.fromkeys({25, 130, 167, 168}, 400),
    **dict.fromkeys({46, 47, 50, 56, 60, 63, 73, 81, 83, 84, 115, 372}, 404),
    **dict.fromkeys({192, 193, 511, 516}, 403),
    48: 501,
    76: 503,
    159: 408,
    194: 401,
    202: 503,
    209: 503,
    223: 413,
    236: 503,
    307: 413,
    381: 411,
    439: 503,
}
_TAG_BYTES = 8


def content_type(fmt: str) -> str:
    """The Content-Type of a format."""
    return _CONTENT_TYPES.get(fmt, "text/plain; charset=UTF-8")


def status_of(error: EngineError) -> int:
    """The HTTP status that goes with an error."""
    return _STATUS_BY_CODE.get(error.code, 500)


def error_text(error: EngineError, version: str) -> bytes:
    """The body of a reply that is an error."""
    return f"{error} (version {version} (official build))\n".encode(errors="replace")


def new_exception_tag() -> str:
    """A text that marks an error in the middle of a result and cannot be part of the result."""
    return secrets.token_hex(_TAG_BYTES)


def tagged_error(error: EngineError, version: str, tag: str) -> bytes:
    """An error after the result has begun."""
    text = error_text(error, version)
    head, tail = f"\r\n__exception__\r\n{tag}\r\n".encode(), f"{len(text)} {tag}\r\n__exception__\r\n".encode()
    return head + text + tail


def summary(stats: Stats) -> str:
    """The value of X-ClickHouse-Summary."""
    values = {
        "read_rows": stats.read_rows,
        "read_bytes": stats.read_bytes,
        "written_rows": stats.written_rows,
        "written_bytes": stats.written_bytes,
        "total_rows_to_read": stats.read_rows,
        "result_rows": stats.result_rows or stats.written_rows,
        "result_bytes": stats.result_bytes or stats.written_bytes,
        "elapsed_ns": int(stats.elapsed_seconds * 1e9),
    }
    return json.dumps({name: str(value) for name, value in values.items()}, separators=(",", ":"))
