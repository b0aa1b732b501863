"""Command line: serve a folder, stop its server, ask for its state."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import ipaddress
import logging
import os
import signal
import socket
import sys
import textwrap
from pathlib import Path

from embedded_clickhouse.config import Credentials, EngineConfig
from embedded_clickhouse.config_file import ConfigError, explained, read_config
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.folder import Folder, FolderInUseError
from embedded_clickhouse.limits import Limits
from embedded_clickhouse.server import ServerOptions, serve

_PASSWORD_VARIABLE = "CLICKHOUSE_PASSWORD"
_PING_SECONDS = 5.0
_SERVE = f"""\
Serve DIR over ClickHouse's HTTP and native protocols until SIGTERM or SIGINT. The password of the account comes from
the environment variable {_PASSWORD_VARIABLE}; set to nothing, it makes an account without a password. The first line
of the output, and the ready file, say which ports answer.
SIGTERM lets running statements end for ten seconds, cancels the rest and exits with 0."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedded-clickhouse", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "serve",
        help=f"serve DIR until SIGTERM; the password comes from {_PASSWORD_VARIABLE}",
        description=_SERVE,
        epilog=_config_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("directory", metavar="DIR", type=Path)
    run.add_argument("--http-port", type=_port, default=8123, help="0 for a free one (default %(default)s)")
    run.add_argument("--tcp-port", type=_port, default=9000, help="0 for a free one (default %(default)s)")
    run.add_argument("--user", default="default", help="name of the one account (default %(default)s)")
    run.add_argument("--database", default="default", help="made when it is missing (default %(default)s)")
    run.add_argument("--timezone", default="UTC", help="zone of dates without one (default %(default)s)")
    run.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address (default %(default)s)")
    run.add_argument("--ready-file", type=Path, help="written as JSON once both ports answer")
    run.add_argument("--config", metavar="FILE", type=Path, help="bounds and settings of the engine, as below")
    stop = commands.add_parser("stop", help="stop the server of DIR and wait for its end")
    stop.add_argument("directory", metavar="DIR", type=Path)
    stop.add_argument("--timeout", type=float, default=40.0, help="seconds to wait (default %(default)s)")
    status = commands.add_parser("status", help="say whether DIR is served; exit 1 when it is not")
    status.add_argument("directory", metavar="DIR", type=Path)
    return parser


def _config_help() -> str:
    """What may stand in a configuration file, from the classes that it fills."""
    parts = ["FILE is TOML. What it may say, and what holds when it does not:"]
    for section, settings in (("engine", EngineConfig), ("limits", Limits)):
        parts += ["", f"  [{section}]"]
        for line, meaning in explained(settings):
            parts += [f"  {line}", *textwrap.wrap(meaning, 96, initial_indent="      ", subsequent_indent="      ")]
    return "\n".join(parts)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _loopback(text: str) -> str:
    try:
        is_loopback = ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 loopback address such as 127.0.0.1")
    return text


def _serve(arguments: argparse.Namespace) -> int:
    # Taken out of the environment, so that nothing started from here inherits it.
    password = os.environ.pop(_PASSWORD_VARIABLE, None)
    if password is None:
        return _fail(f"The environment variable {_PASSWORD_VARIABLE} is not set; set it to nothing for no password.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        engine, limits = read_config(arguments.config) if arguments.config else (EngineConfig(), Limits())
    except (ConfigError, OSError) as error:
        return _fail(str(error))
    options = ServerOptions(
        directory=arguments.directory,
        credentials=Credentials(arguments.user, password),
        database=arguments.database,
        timezone=arguments.timezone,
        host=arguments.host,
        http_port=arguments.http_port,
        tcp_port=arguments.tcp_port,
        ready_file=arguments.ready_file,
        engine=engine,
        limits=limits,
    )
    try:
        serve(options)
    except (FolderInUseError, EngineError, OSError) as error:
        return _fail(str(error))
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    folder = Folder(arguments.directory)
    pid = folder.owner()
    if pid is None:
        print(f"Nobody serves {arguments.directory}.")
        return 0
    # It may have ended by itself meanwhile.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not folder.wait_until_free(arguments.timeout):
        return _fail(f"The server with pid {pid} did not end within {arguments.timeout:.0f} s.")
    print(f"Stopped the server with pid {pid}.")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    folder = Folder(arguments.directory)
    pid, ready = folder.owner(), folder.ready()
    if pid is None:
        return _fail(f"Nobody serves {arguments.directory}.")
    if ready is None:
        return _fail(f"The server with pid {pid} is starting or stopping.")
    for protocol, port, ask in (("HTTP", ready.http_port, _ping), ("native", ready.tcp_port, _greet)):
        try:
            ask(port)
        except (OSError, http.client.HTTPException) as error:
            return _fail(f"The server with pid {pid} does not answer on {protocol} port {port}: {error}")
    print(f"pid {pid} serves {arguments.directory}: HTTP {ready.http_port}, native {ready.tcp_port}")
    return 0


def _ping(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        connection.getresponse().read()
    finally:
        connection.close()


def _greet(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=_PING_SECONDS) as connection:
        # A Hello of a revision that is spoken nowhere: it is answered without an account.
        connection.sendall(b"\x00\x06status\x00\x00\x00")
        if not connection.recv(1):
            raise ConnectionResetError("it closed the connection without a word")


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def main() -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args()
    commands = {"serve": _serve, "stop": _stop, "status": _status}
    return commands[arguments.command](arguments)


if __name__ == "__main__":
    raise SystemExit(main())
