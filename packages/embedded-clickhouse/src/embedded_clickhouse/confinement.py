"""Keeps statements to the server's own folders, as a server does; the engine by itself lets them into the whole host.

A statement in which one of the names below appears is first put into the engine's own spelling, so that neither
comments nor quoting hide anything. Then every path in it must be a constant that lies inside the folder of user files;
what cannot be told is refused.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from embedded_clickhouse.canonical import Kind, calls, constant, parameter_of, tokenize, unescape
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.user_files import UserFiles, is_file_url, url_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from embedded_clickhouse.canonical import Call, Token

_SYNTAX_ERROR = 62
_BAD_ARGUMENTS = (36, "BAD_ARGUMENTS")
_DATABASE_ACCESS_DENIED = (291, "DATABASE_ACCESS_DENIED")
_PATH_ACCESS_DENIED = (481, "PATH_ACCESS_DENIED")
_DICTIONARY_ACCESS_DENIED = (482, "DICTIONARY_ACCESS_DENIED")

# Which argument of a function is a path, and what a server says of one outside.
_FUNCTIONS = {
    "deltalakelocal": (0, _PATH_ACCESS_DENIED),
    "file": (0, _DATABASE_ACCESS_DENIED),
    "filecluster": (1, _DATABASE_ACCESS_DENIED),
    "filesystem": (0, _DATABASE_ACCESS_DENIED),
    "iceberglocal": (0, _PATH_ACCESS_DENIED),
    "iceberglocalcluster": (1, _PATH_ACCESS_DENIED),
    "paimonlocal": (0, _PATH_ACCESS_DENIED),
    "sqlite": (0, _PATH_ACCESS_DENIED),
    "url": (0, _DATABASE_ACCESS_DENIED),
    "urlcluster": (1, _DATABASE_ACCESS_DENIED),
}
# The same of engines, of tables and of databases.
_ENGINES = {
    "deltalakelocal": (0, _PATH_ACCESS_DENIED),
    "embeddedrocksdb": (1, _BAD_ARGUMENTS),
    "file": (1, _DATABASE_ACCESS_DENIED),
    "filelog": (0, _BAD_ARGUMENTS),
    "filesystem": (0, _BAD_ARGUMENTS),
    "iceberglocal": (0, _PATH_ACCESS_DENIED),
    "paimonlocal": (0, _PATH_ACCESS_DENIED),
    "sqlite": (0, _PATH_ACCESS_DENIED),
    "url": (0, _DATABASE_ACCESS_DENIED),
}
# Those whose argument is a URL, which may be of any host.
_URLS = frozenset({"url", "urlcluster"})
# Their arguments say in many ways where data lies, on this host too: each text of them is looked at.
_ANYWHERE = re.compile(r"iceberg\w*|deltalake\w*|hudi\w*|paimon\w*|datalakecatalog")
# Their arguments name tables, and the engine takes the name of a table in `default` for a path.
_TABLE_NAMES = {"alias": 2, "buffer": 2, "distributed": 3, "loop": 2, "remote": 3, "remotesecure": 3}
# What the library adds to a server: objects of this very process.
_LIBRARY_ONLY = frozenset({"arrowstream", "python"})
_REMOTE_DISKS = frozenset({"azure", "azure_blob_storage", "hdfs", "plain", "plain_rewritable", "s3", "s3_plain", "web"})
_REMOTE_DISKS |= {"s3_plain_rewritable", "object_storage"}
_COMMAND_SOURCES = frozenset({"executable", "executable_pool", "library"})
_QUERY_SOURCES = frozenset({"clickhouse"})
# Settings that name a file.
_PATH_SETTINGS = frozenset(
    {"format_schema", "format_template_resultset", "format_template_row", "output_format_schema", "url_base"}
)
_SCHEMA_SOURCE = "format_schema_source"

# More data than this is not read as expressions.
_MAX_VALUES_BYTES = 1024 * 1024
_PIECE_BYTES = 1024 * 1024

# A statement without any of these is nobody's business here. Escapes and typographic quotes can hide a name.
_SUSPICIOUS = re.compile(
    rb"file|url|sqlite|rocksdb|local|iceberg|deltalake|hudi|paimon|datalake|alias|buffer|distributed|loop|remote"
    rb"|arrowstream|python|format\s*\(|eval|queryrunner|disk|source|executable|library|format_schema|format_template"
    rb"|output_format_schema|collection|attach|backup|restore|param_|:\s*identifier"
    rb"|\xe2\x80[\x98-\x9f]|[`\"][^`\"]*(?:[\\/]|\.\.)",
    re.IGNORECASE,
)


class Confinement:
    """Refuses statements that leave the server's folders.

    :param user_files: the folder in which statements may name files.
    :param backups: where backups may lie.
    :param canonical: puts a statement into the engine's own spelling.
    """

    def __init__(self, user_files: Path, backups: Path, canonical: Callable[[bytes], str]) -> None:
        self._files = UserFiles(user_files)
        self._backups = UserFiles(backups)
        self._canonical = canonical

    def check(
        self,
        sql: bytes | str,
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        is_insert: bool = False,
    ) -> None:
        """Check one statement.

        :param sql: the statement as the engine gets it.
        :param parameters: values for ``{name:Type}``, escaped as they come over HTTP.
        :param settings: what it runs with.
        :param is_insert: whether it is the head of an insert, whose data follows.
        :raises EngineError: it names a path outside, or one that cannot be told; with a server's code.
        """
        settings = settings or {}
        for name in _PATH_SETTINGS & settings.keys():
            self.check_setting(name, settings[name], settings.get(_SCHEMA_SOURCE, ""))
        text = sql.encode() if isinstance(sql, str) else sql
        if _SUSPICIOUS.search(text):
            # The engine's parser wants to see where the data begins.
            canonical = self._canonical(text + b"\n VALUES" if is_insert else text)
            _Statement(self, tokenize(canonical), parameters or {}).check()

    def check_values(self, path: str) -> bool:
        """Check data of the format Values, whose values may be expressions, with subqueries even.

        :param path: a file with the data.
        :returns: whether expressions in it may be evaluated: what cannot be read as one here must be literals.
        :raises EngineError: an expression names a path outside.
        """
        with Path(path).open("rb") as file:
            if not file.seek(0, 2):
                return True
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if not _may_read_files(data):
                    return True
                if len(data) > _MAX_VALUES_BYTES:
                    return False
                text = data[:].strip(b" \t\r\n;,")
        try:
            self.check(b"SELECT " + text)
        except EngineError as error:
            if error.code != _SYNTAX_ERROR:
                raise
            return False
        return True

    def check_canonical(self, canonical: str) -> None:
        """Check a statement that is in the engine's own spelling."""
        _Statement(self, tokenize(canonical), {}).check()

    def check_text(self, text: str) -> None:
        """Check a string that the engine will run, or a part of one."""
        try:
            self.check(text)
        except EngineError as error:
            if error.code != _SYNTAX_ERROR:
                raise
            self.check(f"SELECT 1 WHERE {text}")

    def check_path(self, path: str | None, place: str, error: tuple[int, str]) -> None:
        """Check the path that a statement gives at a place; None when it cannot be told."""
        if path is None:
            _refuse(error, f"The path of {place} must be a constant here: it has to be inside {self._files.root}")
        if not self._files.allows(path):
            _refuse(error, f"File `{path}` is not inside `{self._files.root}`")

    def check_backup(self, path: str | None) -> None:
        """Check the path of a backup; the engine looks at it too, but not at links."""
        if path is None or not self._backups.allows(str(self._backups.root / path)):
            message = f"Path '{path}' is not allowed for backups, which must be inside {self._backups.root}"
            _refuse(_BAD_ARGUMENTS, message)

    def check_name(self, name: str) -> None:
        """Check the name of a table."""
        if not self._files.allows_name(name):
            _refuse(_DATABASE_ACCESS_DENIED, f"File `{name}` is not inside `{self._files.root}`")

    def check_setting(self, name: str, value: str, schema_source: str) -> None:
        """Check the value of a setting that may name a file.

        :param schema_source: the value of ``format_schema_source``, if that is known.
        """
        if name == "format_schema" and schema_source == "query":
            self.check_text(value)
        elif name == "url_base":
            if is_file_url(value):
                self.check_path(url_path(value), name, _DATABASE_ACCESS_DENIED)
        elif value and not (name == "format_schema" and schema_source == "string"):
            path = value.rpartition(":")[0] or value if name == "format_schema" else value
            if not self._files.allows(path):
                message = f"The path in the '{name}' setting must be inside {self._files.root}: {value}"
                _refuse(_BAD_ARGUMENTS, message)


class _Statement:
    """One statement that is looked at."""

    def __init__(self, confinement: Confinement, tokens: Sequence[Token], parameters: Mapping[str, str]) -> None:
        self._confinement = confinement
        self._tokens = tokens
        self._parameters = parameters
        self._keyword = tokens[0].text.upper() if tokens else ""
        self._is_dictionary = any(token.is_word("DICTIONARY") for token in tokens[:5])

    def check(self) -> None:
        self._check_clauses()
        self._check_settings()
        self._check_names()
        for call in calls(self._tokens):
            self._check_call(call)

    # What is no call.

    def _check_clauses(self) -> None:
        for first, second in zip(self._tokens, self._tokens[1:], strict=False):
            if first.is_word("INTO") and second.is_word("OUTFILE"):
                _refuse((358, "INTO_OUTFILE_NOT_ALLOWED"), "INTO OUTFILE is not allowed: only a client writes files.")
            if first.is_word("FROM") and second.is_word("INFILE"):
                _refuse((48, "NOT_IMPLEMENTED"), "FROM INFILE is not supported: only a client reads files.")
            if self._keyword == "ATTACH" and first.is_word("FROM") and second.kind is Kind.STRING:
                self._confinement.check_path(second.text, "ATTACH", _PATH_ACCESS_DENIED)
            if first.is_word("ENGINE") and second == (Kind.SYMBOL, "="):
                self._check_engine_name()
        if any(token.is_word("COLLECTION") for token in self._tokens[:3]):
            self._check_strings(self._tokens, "a named collection")

    def _check_engine_name(self) -> None:
        """Refuse engines that need no brackets to do harm."""
        for engine, name in zip(self._tokens, self._tokens[2:], strict=False):
            if engine.is_word("ENGINE") and name.text.lower() == "queryrunner":
                _refuse((344, "SUPPORT_IS_DISABLED"), "Tables of the engine QueryRunner are not supported here.")

    def _check_settings(self) -> None:
        values = {
            name.text: value
            for name, equals, value in zip(self._tokens, self._tokens[1:], self._tokens[2:], strict=False)
            if name.text in {*_PATH_SETTINGS, _SCHEMA_SOURCE} and equals == (Kind.SYMBOL, "=")
        }
        source = values.pop(_SCHEMA_SOURCE, None)
        for name, value in values.items():
            if value.text == "{":
                _refuse(_BAD_ARGUMENTS, f"The value of {name} must be a constant here.")
            if value.kind is Kind.STRING:
                self._confinement.check_setting(name, value.text, source.text if source else "")

    def _check_names(self) -> None:
        for token in self._tokens:
            if token.kind is Kind.NAME:
                self._confinement.check_name(token.text)
        for index, token in enumerate(self._tokens):
            parameter = parameter_of(self._tokens[index : index + 5]) if token == (Kind.SYMBOL, "{") else None
            if parameter is not None and parameter in self._parameters:
                if self._tokens[index + 3].text.upper() == "IDENTIFIER":
                    self._confinement.check_name(unescape(self._parameters[parameter]))
            elif self._keyword == "SET" and token.text.startswith("param_") and index + 2 < len(self._tokens):
                self._confinement.check_name(self._tokens[index + 2].text)

    # Calls.

    def _check_call(self, call: Call) -> None:
        if self._is_dictionary and call.parents == ("source",):
            self._check_source(call)
        elif call.name in {"file", "disk"} and self._is_backup(call):
            if call.name == "file":
                self._confinement.check_backup(self._argument(call, 0))
        elif call.name == "disk":
            self._check_disk(call)
        elif call.name in _LIBRARY_ONLY:
            _refuse((46, "UNKNOWN_FUNCTION"), f"Unknown table function {call.name}")
        elif call.name == "eval":
            self._check_eval(call)
        else:
            self._check_paths(call)

    def _check_paths(self, call: Call) -> None:
        is_engine = call.before == (Kind.SYMBOL, "=")
        known = _ENGINES if is_engine else _FUNCTIONS
        if call.name == "format":
            self._check_format(call)
        elif call.name in known:
            self._check_values_format(call, known[call.name][0])
            self._check_path(call, *known[call.name])
        if _ANYWHERE.fullmatch(call.name):
            self._check_strings(call.tokens, call.name)
        elif call.name in _TABLE_NAMES:
            self._check_table_names(call, _TABLE_NAMES[call.name])

    def _check_path(self, call: Call, position: int, error: tuple[int, str]) -> None:
        arguments = call.arguments
        if call.name in _URLS:
            self._check_urls(call)
        if len(arguments) <= position:
            return
        if len(arguments[position]) == 1 and arguments[position][0].kind is Kind.NUMBER:
            _refuse(error, f"{call.name} cannot be given the number of an open file.")
        # An engine takes a name for a text; in a function it may stand for one that is not seen here.
        path = constant(arguments[position], self._parameters, may_be_name=call.before == (Kind.SYMBOL, "="))
        if call.name not in _URLS or path is None:
            self._confinement.check_path(path, call.name, error)
        elif is_file_url(path):
            self._confinement.check_path(url_path(path), call.name, error)
        if call.name not in _URLS:
            self._check_overrides(call, error)

    def _check_urls(self, call: Call) -> None:
        """URLs that stand elsewhere than in their place: a named collection's may be overridden."""
        for token in call.tokens:
            if token.kind is Kind.STRING and is_file_url(token.text):
                self._confinement.check_path(url_path(token.text), call.name, _DATABASE_ACCESS_DENIED)

    def _check_overrides(self, call: Call, error: tuple[int, str]) -> None:
        for argument in call.arguments:
            is_named = len(argument) >= 3 and argument[1] == (Kind.SYMBOL, "=")
            if is_named and argument[0].text.lower() in {"path", "filename", "url"}:
                self._confinement.check_path(constant(argument, self._parameters), call.name, error)

    def _check_strings(self, tokens: Iterable[Token], place: str) -> None:
        """Every text that would be a path outside, whatever it is for."""
        for token in tokens:
            if token.kind is not Kind.STRING:
                continue
            if is_file_url(token.text):
                self._confinement.check_path(url_path(token.text), place, _PATH_ACCESS_DENIED)
            elif token.text.startswith("/") or ".." in token.text.split("/"):
                self._confinement.check_path(token.text, place, _PATH_ACCESS_DENIED)

    def _check_table_names(self, call: Call, count: int) -> None:
        arguments = call.arguments[:count]
        for argument in arguments:
            for token in argument:
                if token.kind is Kind.STRING:
                    self._confinement.check_name(token.text)
        # loop(numbers(3)) is a table function; a database and a table must be given as they are.
        is_pair = call.name in {"alias", "buffer", "distributed", "loop"} and len(arguments) > 1
        if is_pair and any(constant(part, self._parameters, may_be_name=True) is None for part in arguments):
            _refuse(_BAD_ARGUMENTS, f"Database and table of {call.name} must be constants here.")

    def _check_source(self, call: Call) -> None:
        """Check the source of a dictionary."""
        if call.name in _COMMAND_SOURCES:
            message = f"Dictionaries with {call.name} dictionary source are not allowed to be created from DDL query"
            _refuse(_DICTIONARY_ACCESS_DENIED, message)
        if call.name == "file":
            pairs = zip(call.tokens, call.tokens[1:], strict=False)
            paths: list[str | None] = [
                value.text for key, value in pairs if key.is_word("PATH") and value.kind is Kind.STRING
            ]
            for path in paths or [None]:
                self._confinement.check_path(path, "a dictionary", _PATH_ACCESS_DENIED)
        elif call.name in _QUERY_SOURCES:
            for token in call.tokens:
                if token.kind is Kind.STRING:
                    self._confinement.check_text(token.text)
                    self._confinement.check_name(token.text)

    def _check_format(self, call: Call) -> None:
        """Check the data of format(Values, ...), which may be expressions."""
        fmt = constant(call.arguments[0], self._parameters, may_be_name=True) if call.arguments else ""
        if fmt is not None and fmt.lower() != "values":
            return
        data = constant(call.arguments[-1], self._parameters)
        if data is None:
            _refuse(_BAD_ARGUMENTS, "Format and data of format must be constants here.")
        self._confinement.check(f"SELECT {data.strip(' ;,')}")

    def _check_values_format(self, call: Call, position: int) -> None:
        """Refuse files in the format Values: they may hold expressions, which nobody looks at.

        :param position: that of the path.
        """
        arguments = call.arguments
        format_at = 0 if call.name == "file" and position else position + 1
        texts = [constant(argument, self._parameters, may_be_name=True) for argument in arguments]
        is_hidden = format_at < len(texts) and texts[format_at] is None
        if is_hidden or any(text and re.search(r"(?:^|\.)values$", text.strip(), re.IGNORECASE) for text in texts):
            message = "must be a constant here, and not Values, which may hold expressions."
            _refuse(_BAD_ARGUMENTS, f"The format of {call.name} {message}")

    def _check_disk(self, call: Call) -> None:
        """Refuse disks that a statement makes on this host, as a server does that has no folder for them."""
        kinds = {"type", "object_storage_type", "metadata_type"}
        pairs = [(argument[0].text.lower(), argument[2:]) for argument in call.arguments if len(argument) > 2]
        named = [constant(value, self._parameters, may_be_name=True) for key, value in pairs if key in kinds]
        is_remote = bool(named) and all(kind in _REMOTE_DISKS for kind in named)
        if not is_remote or any(key in {"path", "metadata_path"} for key, _ in pairs):
            message = "Base path for custom local disks must be defined in config file, and is not: a statement cannot "
            _refuse(_BAD_ARGUMENTS, f"{message}make a disk on this host.")

    def _check_eval(self, call: Call) -> None:
        text = constant(call.tokens, self._parameters)
        if text is None:
            _refuse(_BAD_ARGUMENTS, "The statement in eval must be a constant here.")
        self._confinement.check_text(text)

    def _is_backup(self, call: Call) -> bool:
        if "backup" in call.parents:
            return True
        is_place = call.before is not None and (call.before.is_word("TO", "FROM") or call.before.text == "=")
        return self._keyword in {"BACKUP", "RESTORE"} and is_place

    def _argument(self, call: Call, position: int) -> str | None:
        arguments = call.arguments
        return constant(arguments[position], self._parameters) if position < len(arguments) else None


def _may_read_files(values: mmap.mmap) -> bool:
    """Whether one of the words is in the data without which no expression reads a file, or an escape that hides one."""
    for start in range(0, len(values), _PIECE_BYTES):
        # A word may be cut by the end of a piece.
        piece = values[start : start + _PIECE_BYTES + 8].lower()
        if any(word in piece for word in (b"file", b"select", b"\\x")):
            return True
    return False


def _refuse(error: tuple[int, str], message: str) -> NoReturn:
    code, name = error
    raise EngineError(code, name, message)
