"""The life of a server process: lock, engine, listeners, readiness, a graceful end."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from embedded_clickhouse.config import Credentials, EngineConfig
from embedded_clickhouse.engine import Engine
from embedded_clickhouse.folder import Folder, Ready, write_ready
from embedded_clickhouse.http.server import HttpServer
from embedded_clickhouse.landlock import is_restricted, restrict_files
from embedded_clickhouse.limits import Limits, StatementGate
from embedded_clickhouse.native.server import NativeServer
from embedded_clickhouse.open_files import raise_file_limit
from embedded_clickhouse.quoting import quote_identifier
from embedded_clickhouse.strays import put_strays_aside

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

# What running statements are given to end after SIGTERM.
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class ServerOptions:
    """How to run a server.

    :param directory: its folder, for the data and everything else it writes.
    :param credentials: the account of its clients. One without a password is for loopback addresses only.
    :param database: made when it is missing.
    :param timezone: the zone of dates without one, an IANA name.
    :param host: the address to listen on.
    :param http_port: port of the HTTP interface; 0 for a free one.
    :param tcp_port: port of the native interface; 0 for a free one.
    :param ready_file: written once both ports answer; None for none.
    :param engine: settings of the engine.
    :param limits: what clients may take.
    :raises ValueError: an account without a password on an address that others can reach.
    """

    directory: Path
    credentials: Credentials
    database: str
    timezone: str = "UTC"
    host: str = "127.0.0.1"
    http_port: int = 0
    tcp_port: int = 0
    ready_file: Path | None = None
    engine: EngineConfig = field(default_factory=EngineConfig)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.credentials.needs_password and not _is_loopback(self.host):
            raise ValueError(
                f"The account {self.credentials.user!r} has no password, so {self.host!r} must be a loopback address "
                "such as 127.0.0.1"
            )


class Server:
    """Engine and listeners of one folder; a context manager that answers from its beginning to its end.

    :param options: how to run it.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._cleanup = contextlib.ExitStack()
        self.ready: Ready | None = None
        """Set while both ports answer."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.ready = self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()
        self.ready = None

    def _start(self, stack: contextlib.ExitStack) -> Ready:
        options = self._options
        folder = Folder(options.directory.absolute())
        folder.acquire()
        stack.callback(folder.release)
        # Left by a process that was killed; the lock says that nobody uses them.
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)
        shutil.rmtree(folder.path / "spool", ignore_errors=True)
        engine = Engine.open(folder.path, timezone=options.timezone, config=options.engine)
        stack.callback(engine.close, 1.0)
        put_strays_aside(engine, is_walled=is_restricted())
        engine.execute(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(options.database)}")
        # One gate, whichever way a statement came.
        gate = StatementGate(options.limits)
        http = HttpServer(
            engine,
            options.credentials,
            options.limits,
            gate,
            host=options.host,
            port=options.http_port,
            display_name=options.database,
        )
        http_port = http.bind()
        native = NativeServer(
            engine,
            options.credentials,
            options.limits,
            gate,
            host=options.host,
            port=options.tcp_port,
            http_port=http_port,
            timezone=options.timezone,
            display_name=options.database,
        )
        try:
            tcp_port = native.start()
        except OSError:
            http.close()
            raise
        stack.callback(_stop_listeners, native, http)
        # Last: whoever is answered over HTTP may take it that the server is there, on both ports.
        http.start()
        ready = Ready(pid=os.getpid(), http_port=http_port, tcp_port=tcp_port)
        folder.publish(ready)
        if options.ready_file is not None:
            write_ready(options.ready_file, ready)
            stack.callback(options.ready_file.unlink, missing_ok=True)
        return ready


def _is_loopback(host: str) -> bool:
    # A name is none, for what it means may change.
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _stop_listeners(native: NativeServer, http: HttpServer) -> None:
    """Stop both at once, so that neither takes new statements while the other waits for old ones."""
    other = threading.Thread(target=native.stop, args=(_GRACE_SECONDS,))
    other.start()
    http.stop(_GRACE_SECONDS)
    other.join()


def _confined(options: ServerOptions) -> ServerOptions:
    """Have the process, as far as its system can, in its own folders only; user files are its working directory.

    :returns: the options with absolute paths.
    """
    ready_file = options.ready_file.absolute() if options.ready_file else None
    options = replace(options, directory=options.directory.absolute(), ready_file=ready_file)
    folders = options.engine.folders(options.directory / "data")
    folders.make()
    # To the engine, which knows no folder of user files, a path that is not absolute is relative to this one.
    os.chdir(folders.user_files)
    # The library opens an engine there for a moment when it is loaded.
    temporary = options.directory / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(temporary)
    writable = [options.directory, folders.backups, *([ready_file.parent] if ready_file else [])]
    if not restrict_files(writable):
        _log.info("This system has no Landlock: only the paths in statements keep them to the folders of the server.")
    return options


def serve(options: ServerOptions) -> None:
    """Run a server until SIGTERM or SIGINT. Called in the main thread of a process.

    :raises FolderInUseError: another server has the folder.
    :raises EngineError: the data cannot be opened.
    :raises OSError: a port is taken.
    """
    raise_file_limit()
    options = _confined(options)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    started = time.monotonic()
    with Server(options) as server:
        if server.ready is not None:
            ready, seconds = server.ready, time.monotonic() - started
            print(
                f"ClickHouse answers on {options.host}: HTTP {ready.http_port}, native {ready.tcp_port} "
                f"(pid {ready.pid}, {seconds:.1f} s)",
                flush=True,
            )
        if not options.credentials.needs_password:
            _log.warning("The account %r has no password", options.credentials.user)
        ended.wait()
        _log.info("Stopping")
