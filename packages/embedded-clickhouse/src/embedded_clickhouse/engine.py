"""The ClickHouse engine in this process: opening it, and connections to it.

It is a thin layer over the private module ``chdb._chdb``, which is why the versions of chdb and chdb-core are
pinned. One process can open one data folder, once; every other process needs a server in front of it. How a
statement runs is in ``statements.py``; which ones run, in ``registry.py``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from embedded_clickhouse.config import EngineConfig
from embedded_clickhouse.confinement import Confinement
from embedded_clickhouse.errors import EngineError, engine_errors
from embedded_clickhouse.quoting import is_setting_name, quote_identifier, quote_string
from embedded_clickhouse.registry import StatementRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DEFAULT_DATABASE = "default"
_CONNECTION_SETTINGS = {
    # Otherwise text that is no statement at all is taken for an expression.
    "implicit_select": 0,
    # Switched on for the statements of clients only.
    "log_queries": 0,
    # Its threads start anew for every result, and for every block of a streamed one: they cost more than they gain.
    "output_format_parallel_formatting": 0,
}


class Engine:
    """The engine of one data folder. Every method may be called from any thread. Made by :meth:`open`.

    :param path: the data folder, made when it is missing. Nobody else may have it open.
    :param timezone: the zone of dates without one, an IANA name. The engine reads it once per process.
    :param config: settings of the engine itself.
    :param config_path: where the engine's configuration file is written.
    :param spool_dir: where the rows of a large insert wait for its end.
    :raises EngineError: when the folder cannot be opened.
    """

    def __init__(self, path: Path, *, timezone: str, config: EngineConfig, config_path: Path, spool_dir: Path) -> None:
        self.path = path
        self.timezone = timezone
        self.spool_dir = spool_dir
        self.statements = StatementRegistry(self._ask)
        # Settings of each connection stand here too: a SET would be logged like a query of the client.
        settings = {**_CONNECTION_SETTINGS, **config.connection_settings()}
        own = "&".join(f"{name}={value}" for name, value in settings.items())
        self._connection_string = f"{path}?config-file={config_path}&{own}"
        self._lock = threading.Lock()
        self._session_ended = threading.Condition(self._lock)
        self._control_lock = threading.Lock()
        self._sessions = 0
        self._closing = False
        self._setting_names: frozenset[str] = frozenset()
        for part in (path, config_path):
            # The engine cuts its connection string at these.
            if any(character in str(part) for character in "?&#%"):
                raise EngineError(36, "BAD_ARGUMENTS", f"The path {part} must not contain any of ? & # %")
        for folder in (path, spool_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self.folders = config.folders(path)
        self.folders.make()
        config.write(config_path, self.folders)
        self.confinement = Confinement(self.folders.user_files, self.folders.backups, self._canonical)
        self._library = _load_library(timezone)
        self._control = self._connect()
        # Statements are looked at whole on this connection (see _canonical).
        self._ask("SET max_query_size = 0")
        self.version = self._ask("SELECT version()")
        if self._ask("SELECT timezone()") != timezone:
            self._control.close()
            message = f"The engine was loaded with another time zone than {timezone} earlier in this process."
            raise EngineError(36, "BAD_ARGUMENTS", message)

    @classmethod
    def open(cls, directory: Path, *, timezone: str = "UTC", config: EngineConfig | None = None) -> Engine:
        """Open the data in ``directory/data``; the engine's configuration and spool lie beside it.

        :param directory: the server's folder. The other parameters are those of the class.
        """
        directory = directory.absolute()
        return cls(
            directory / "data",
            timezone=timezone,
            config=config or EngineConfig(),
            config_path=directory / "engine.xml",
            spool_dir=directory / "spool",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float = 10.0) -> None:
        """Let running statements end for at most ``timeout`` seconds, cancel the rest and close the data."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        for query_id in self.statements.wait_until_none(timeout):
            self.statements.kill(query_id)
        with self._lock:
            self._session_ended.wait_for(lambda: not self._sessions, 2.0)
        with self._control_lock:
            self._control.close()

    def session(self, *, database: str | None = None, keep: bool = False) -> EngineSession:
        """Open one connection to the engine.

        :param database: the database of names without one; the engine's ``default`` when it is not given.
        :param keep: whether it serves several queries, so that the settings of each are undone after it.
        :raises EngineError: 81 (UNKNOWN_DATABASE); 236 (ABORTED) when the engine is closing.
        """
        with self._lock:
            if self._closing:
                raise EngineError(236, "ABORTED", "The server is shutting down.")
            self._sessions += 1
        try:
            session = EngineSession(self, self._connect(), keep=keep)
        except BaseException:
            self.session_closed()
            raise
        try:
            if database and database != session.database:
                session.use(database)
        except BaseException:
            session.close()
            raise
        return session

    def knows_setting(self, name: str) -> bool:
        """Whether there is a setting of this name."""
        if not self._setting_names:
            self._setting_names = frozenset(self._ask("SELECT name FROM system.settings").splitlines())
        return name in self._setting_names

    def execute(self, sql: str) -> str:
        """Run a statement of the server itself on the engine's own connection, and return its result as TSV text."""
        return self._ask(sql)

    def session_closed(self) -> None:
        """Note that a connection is gone."""
        with self._lock:
            self._sessions -= 1
            self._session_ended.notify_all()

    def _canonical(self, sql: bytes) -> str:
        """A statement in the engine's own spelling.

        :raises EngineError: 62 with the parser's message.
        """
        quoted = sql.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
        try:
            with self._control_lock, engine_errors():
                result = self._control.query(b"SELECT formatQuerySingleLine('" + quoted + b"')", "TSVRaw").bytes()
        except EngineError as error:
            # The statement around it is not the client's.
            message = error.message.partition(": In scope SELECT formatQuery")[0]
            raise EngineError(error.code, error.name, message) from error
        return bytes(result).decode(errors="surrogateescape").removesuffix("\n")

    def _ask(self, sql: str) -> str:
        with self._control_lock, engine_errors():
            return str(self._control.query(sql, "TSVRaw").bytes().decode(errors="replace")).removesuffix("\n")

    def _connect(self) -> Any:
        try:
            return self._library.connect(self._connection_string)
        except RuntimeError as error:
            # The engine's own message is empty when another process has the folder open.
            reason = str(error) or "is it open in another process?"
            raise EngineError(76, "CANNOT_OPEN_FILE", f"Cannot open the data in {self.path}: {reason}") from error


class EngineSession:
    """One connection to the engine: its settings, database and temporary tables. Made by :meth:`Engine.session`.

    It runs one statement at a time. It may be used from several threads, one after the other.
    """

    def __init__(self, engine: Engine, connection: Any, *, keep: bool) -> None:
        self.engine = engine
        self.connection = connection
        self.database = _DEFAULT_DATABASE
        self._keep = keep
        self._closed = False
        # What settings were before queries changed them (None: the default). Forgotten when the client sets one itself.
        self._base: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; its temporary tables go with it."""
        if self._closed:
            return
        self._closed = True
        try:
            self.connection.close()
        finally:
            self.engine.session_closed()

    def is_read_only(self, sql: bytes | str) -> bool:
        """Whether the engine says that this statement changes nothing; False for text it cannot parse."""
        with engine_errors():
            return str(self.connection.classify_query(sql)["query_class"].name) == "READ_ONLY"

    def can_parse(self, sql: bytes) -> bool:
        """Whether the engine understands a statement at all."""
        with engine_errors():
            return str(self.connection.classify_query(sql)["query_class"].name) != "UNKNOWN"

    def use(self, database: str) -> None:
        """Make ``database`` the one of names without a database.

        :raises EngineError: 81 (UNKNOWN_DATABASE).
        """
        self._run(f"USE {quote_identifier(database)}")
        self.database = database

    def apply_settings(self, settings: Mapping[str, str]) -> None:
        """Set these settings, remembering what they were when the session is kept.

        :raises EngineError: 115 (UNKNOWN_SETTING), or what the engine says about a bad value.
        """
        for name in settings:
            if not is_setting_name(name):
                raise EngineError(115, "UNKNOWN_SETTING", f"Unknown setting {quote_string(name)}.")
        if self._keep:
            self._remember([name for name in settings if name not in self._base])
        if settings:
            self._run("SET " + ", ".join(f"{name} = {quote_string(value)}" for name, value in settings.items()))

    def undo_settings(self, names: list[str]) -> None:
        """Give these settings the values they had before the first query that changed them."""
        # Only what the engine knew when it was remembered: names that it refused must not become part of a statement.
        known = [(name, self._base[name]) for name in names if name in self._base]
        if known:
            values = (f"{name} = {'DEFAULT' if old is None else quote_string(old)}" for name, old in known)
            self._run("SET " + ", ".join(values))

    def forget_settings(self) -> None:
        """Read the settings and the database anew before the next query: the client changed them with SET or USE."""
        self._base.clear()
        self.database = str(self._run("SELECT currentDatabase()")[0][0])

    def _remember(self, names: list[str]) -> None:
        if not names:
            return
        listed = ", ".join(quote_string(name) for name in names)
        rows = self._run(f"SELECT name, value, changed FROM system.settings WHERE name IN ({listed})")
        self._base.update({name: value if changed else None for name, value, changed in rows})

    def _run(self, sql: str) -> list[list[Any]]:
        with engine_errors():
            lines = self.connection.query(sql, "JSONCompactEachRow").bytes().splitlines()
        return [json.loads(line) for line in lines]


def _load_library(timezone: str) -> Any:
    """Import the engine with its time zone, without the signal handlers it installs."""
    try:
        ZoneInfo(timezone)
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise EngineError(36, "BAD_ARGUMENTS", f"Unknown time zone {timezone!r}") from error
    os.environ["TZ"] = timezone
    time.tzset()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    library = importlib.import_module("chdb._chdb")
    library.reset_signal_handlers()
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)
    return library
