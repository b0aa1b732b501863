"""What an HTTP request asks for: its query, account, settings and options, wherever they stand."""

from __future__ import annotations

import base64
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from embedded_clickhouse.config import DEFAULT_USER
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.progress import DEFAULT_INTERVAL_SECONDS
from embedded_clickhouse.http.sessions import DEFAULT_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS
from embedded_clickhouse.quoting import checked_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARAMETER_PREFIX = "param_"
_LOOPBACK = re.compile(r"127(\.[0-9]{1,3}){3}|::1")
_REVISION = re.compile(r"[0-9]{1,9}")
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_]+")
# Parameters that mean nothing to this server: it has one user without roles or quotas, and no stack traces to show.
_IGNORED = frozenset({"buffer_size", "quota_key", "stacktrace"})


@dataclass
class Request:
    """A request for a query.

    :param method: GET, HEAD or POST; only POST may change anything.
    :param headers: by lower-case name.
    :param options: the parameters of the URL that are neither settings nor query parameters.
    :param settings: settings of the engine.
    :param parameters: values for ``{name:Type}``.
    :param query: the part of the statement that is not in the body.
    """

    method: str
    headers: Mapping[str, str]
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    query: bytes = b""

    @classmethod
    def parse(cls, scope: Mapping[str, Any]) -> Request:
        """Read an ASGI scope.

        :raises EngineError: 115 (UNKNOWN_SETTING) is left to the engine; 36 for text that is no text.
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = cls(method=scope["method"], headers=headers)
        # A statement need not be UTF-8: what is not becomes surrogates and bytes again.
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
        for name, value in pairs:
            request.put(name, value)
        return request

    def put(self, name: str, value: str) -> None:
        """Add a parameter of the URL or a field of a form."""
        if name == "query":
            self.query = value.encode(errors="surrogateescape")
        elif name.startswith(_PARAMETER_PREFIX):
            parameter = checked_text("name of a parameter", name.removeprefix(_PARAMETER_PREFIX))
            self.parameters[parameter] = checked_text(name, value)
        elif name in _OPTIONS:
            # It goes back in a header.
            if name == "query_id" and not value.isprintable():
                raise EngineError(36, "BAD_ARGUMENTS", f"query_id {value!r} has characters that cannot be printed")
            self.options[name] = checked_text(name, value)
        elif name not in _IGNORED:
            self.settings[checked_text("name of a setting", name)] = checked_text(name, value)

    @property
    def is_form(self) -> bool:
        """Whether the body is a form of fields rather than a statement or data."""
        return self.headers.get("content-type", "").lower().startswith("multipart/form-data")

    @property
    def account(self) -> tuple[str, str] | None:
        """Name and password from the headers or the URL; None when there are none.

        :raises EngineError: 516 for a malformed or unknown kind of Authorization.
        """
        user, key = self.headers.get("x-clickhouse-user", ""), self.headers.get("x-clickhouse-key", "")
        if user or key:
            return user or DEFAULT_USER, key
        authorization = self.headers.get("authorization")
        if authorization is not None:
            return _basic_account(authorization)
        if "user" in self.options or "password" in self.options:
            return self.options.get("user") or DEFAULT_USER, self.options.get("password", "")
        return None

    @property
    def is_of_other_site(self) -> bool:
        """Whether a page in a browser has sent it that is none of this machine's."""
        origin = self.headers.get("origin")
        if origin is None:
            return False
        try:
            host = urlsplit(origin).hostname or ""
        except ValueError:
            return True
        return host != "localhost" and not _LOOPBACK.fullmatch(host)

    @property
    def database(self) -> str | None:
        """The database of names without one, when the client says which."""
        return self.options.get("database") or self.headers.get("x-clickhouse-database")

    @property
    def default_format(self) -> str | None:
        """The format where the statement has none; None when the client leaves it to the server.

        :raises EngineError: 73 (UNKNOWN_FORMAT) for what cannot be the name of one.
        """
        fmt = self.headers.get("x-clickhouse-format") or self.options.get("default_format")
        return check_format(fmt) if fmt else None

    @property
    def query_id(self) -> str:
        """The client's id for this query, or a new one."""
        query_id = self.options.get("query_id") or self.headers.get("x-clickhouse-query-id") or str(uuid.uuid4())
        self.options["query_id"] = query_id
        return query_id

    @property
    def has_length(self) -> bool:
        """Whether the end of the body can be told from a lost connection."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    @property
    def progress_interval(self) -> float | None:
        """Seconds between two headers of progress; None when the client does not want any.

        :raises EngineError: 36 for an interval that is no number.
        """
        if not self.flag("send_progress_in_http_headers"):
            return None
        text = self.options.get("http_headers_progress_interval_ms", "")
        if text and not text.isdecimal():
            raise EngineError(36, "BAD_ARGUMENTS", f"http_headers_progress_interval_ms must be a number, not {text!r}")
        return float(text) / 1000 if text else DEFAULT_INTERVAL_SECONDS

    @property
    def session_timeout(self) -> float:
        """Seconds a session lives on after this request.

        :raises EngineError: 374 (INVALID_SESSION_TIMEOUT).
        """
        text = self.options.get("session_timeout")
        if text is None:
            return DEFAULT_TIMEOUT_SECONDS
        if not text.isdecimal() or float(text) > MAX_TIMEOUT_SECONDS:
            message = f"Invalid session timeout: {text!r}; it is a number of seconds up to {MAX_TIMEOUT_SECONDS:.0f}"
            raise EngineError(374, "INVALID_SESSION_TIMEOUT", message)
        return float(text)

    @property
    def protocol_version(self) -> int:
        """The revision whose Native format the client wants; 0 is the format of files."""
        text = self.options.get("client_protocol_version", "0")
        if not _REVISION.fullmatch(text):
            raise EngineError(36, "BAD_ARGUMENTS", f"client_protocol_version must be a number, not {text[:100]!r}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether an option or setting of the URL is on."""
        return self.options.get(name, self.settings.get(name, "0")).lower() in {"1", "true"}


_OPTIONS = frozenset(
    {
        "client_protocol_version",
        "close_session",
        "compress",
        "database",
        "decompress",
        "default_format",
        # Settings of a server that have a meaning for its HTTP interface only. The engine need not hear of them.
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "password",
        "query_id",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "user",
        "wait_end_of_query",
    }
)


def check_format(name: str) -> str:
    """The name of a format, which becomes part of a statement.

    :raises EngineError: 73 (UNKNOWN_FORMAT) for what cannot be one.
    """
    if not _FORMAT_NAME.fullmatch(name):
        raise EngineError(73, "UNKNOWN_FORMAT", f"Unknown format {name!r}")
    return name


def _basic_account(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise EngineError(516, "AUTHENTICATION_FAILED", "Only Basic authorization is supported.")
    try:
        user, separator, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError as error:
        raise EngineError(516, "AUTHENTICATION_FAILED", "The Authorization header cannot be read.") from error
    if not separator:
        raise EngineError(516, "AUTHENTICATION_FAILED", "The Authorization header has no password.")
    return user, password
