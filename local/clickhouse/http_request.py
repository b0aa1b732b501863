"""What an HTTP request asks for: its query, account, settings and options, wherever they stand."""

from __future__ import annotations

import base64
import binascii
import email.message
import email.parser
import email.policy
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from local.clickhouse.errors import EngineError
from local.clickhouse.http_sessions import DEFAULT_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARAMETER_PREFIX = "param_"
# Parameters that mean nothing to this server: it has one user without roles or quotas, and no stack traces to show.
_IGNORED = frozenset({"buffer_size", "quota_key", "stacktrace"})


@dataclass
class Request:
    """A request for a query.

    :param method: GET or POST; GET is read-only.
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
            self.parameters[name.removeprefix(_PARAMETER_PREFIX)] = _as_text(name, value)
        elif name in _OPTIONS:
            self.options[name] = _as_text(name, value)
        elif name not in _IGNORED:
            self.settings[_as_text("setting", name)] = _as_text(name, value)

    def put_form(self, body: bytes) -> None:
        """Add the fields of a form in the body.

        :raises EngineError: 48 for files, which are external tables; 36 for a form that cannot be read.
        """
        content_type = self.headers.get("content-type", "")
        # The newer policies take each header apart into its grammar, which takes milliseconds a request.
        message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(
            b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body
        )
        if not message.is_multipart():
            raise EngineError(36, "BAD_ARGUMENTS", "The multipart form in the body cannot be read.")
        for part in cast("list[email.message.Message]", message.get_payload()):
            name = part.get_param("name", header="content-disposition")
            if part.get_filename() is not None or not isinstance(name, str):
                raise EngineError(48, "NOT_IMPLEMENTED", f"External data ({name}) is not supported by this server.")
            payload = part.get_payload(decode=True)
            self.put(name, payload.decode(errors="surrogateescape") if isinstance(payload, bytes) else "")

    @property
    def is_form(self) -> bool:
        """Whether the body is a form of fields rather than a statement or data."""
        return self.headers.get("content-type", "").lower().startswith("multipart/form-data")

    @property
    def account(self) -> tuple[str, str] | None:
        """Name and password from the headers or the URL; None when there are none.

        :raises EngineError: 516 for a malformed or unknown kind of Authorization.
        """
        user = self.headers.get("x-clickhouse-user")
        if user is not None:
            return user, self.headers.get("x-clickhouse-key", "")
        authorization = self.headers.get("authorization")
        if authorization is not None:
            return _basic_account(authorization)
        if "user" in self.options or "password" in self.options:
            return self.options.get("user", ""), self.options.get("password", "")
        return None

    @property
    def database(self) -> str | None:
        """The database of names without one, when the client says which."""
        return self.options.get("database") or self.headers.get("x-clickhouse-database")

    @property
    def default_format(self) -> str | None:
        """The format where the statement has none; None when the client leaves it to the server."""
        return self.headers.get("x-clickhouse-format") or self.options.get("default_format")

    @property
    def query_id(self) -> str:
        """The client's id for this query, or a new one."""
        query_id = self.options.get("query_id") or self.headers.get("x-clickhouse-query-id") or str(uuid.uuid4())
        if not query_id.isprintable():
            raise EngineError(36, "BAD_ARGUMENTS", f"query_id {query_id!r} has characters that cannot be printed")
        self.options["query_id"] = query_id
        return query_id

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
        if not text.isdecimal():
            raise EngineError(36, "BAD_ARGUMENTS", f"client_protocol_version must be a number, not {text!r}")
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
        "password",
        "query_id",
        "role",
        "session_check",
        "session_id",
        "session_timeout",
        "user",
        "wait_end_of_query",
    }
)


def _as_text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EngineError(36, "BAD_ARGUMENTS", f"The value of {name!r} is not UTF-8") from error
    return value


def _basic_account(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise EngineError(516, "AUTHENTICATION_FAILED", "Only Basic authorization is supported.")
    try:
        user, separator, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise EngineError(516, "AUTHENTICATION_FAILED", "The Authorization header cannot be read.") from error
    if not separator:
        raise EngineError(516, "AUTHENTICATION_FAILED", "The Authorization header has no password.")
    return user, password
