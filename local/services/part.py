"""What the stack asks of each of its parts."""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from local.processes import ProcessError
from local.settings import LOOPBACK

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from local.processes import Command, DetachedProcess

# Another Airflow, ClickHouse or Python environment of the user must not reach into this stack.
_FOREIGN = ("AIRFLOW_", "CLICKHOUSE_", "VALKEY_", "MAXY_", "POSTGRES_", "PYTHONPATH", "PYTHONHOME", "PG")


# Characters of a service's own words in one line of a status.
_LONGEST_WORDS = 300


class NotReady(RuntimeError):
    """A part does not do its work, or not yet; the text is its own words, or those of whoever asked it."""


class PortTaken(ProcessError):
    """Somebody else listens where a part is to listen."""


class Part(ABC):
    """One process of the stack.

    :param process: its pid file and log.
    :param ports: the ports it will listen on, by the variable that changes each.
    """

    #: Seconds until it must be ready.
    start_timeout: float = 60.0
    #: Seconds between two questions whether it is.
    poll_interval: float = 0.1

    def __init__(self, process: DetachedProcess, ports: Mapping[str, int]) -> None:
        self.process = process
        self.ports = ports

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def address(self) -> str:
        """Where it listens, for people."""
        return ", ".join(f"{LOOPBACK}:{port}" for port in self.ports.values())

    @abstractmethod
    def command(self) -> Command:
        """What to start; writes the configuration that it needs."""

    @abstractmethod
    def check(self) -> None:
        """Ask the service itself whether it does its work.

        :raises NotReady: it does not (yet).
        :raises ProcessError: it does not, and waiting will not help.
        """

    def problem(self) -> str | None:
        """Why it does not do its work, in one line; None when it does. Whatever a service answers, this is a line.

        :raises ProcessError: as `check`.
        """
        try:
            self.check()
        except ProcessError:
            raise
        except NotReady as error:
            return one_line(str(error))
        except Exception as error:
            # A service in trouble finds answers that its client has no class for.
            return one_line(f"{type(error).__name__}: {error}")
        return None

    def ready(self) -> bool:
        """:raises ProcessError: as `check`."""
        return self.problem() is None

    def read_clock(self) -> float:
        """Return the time by the service's own clock, in seconds since the epoch.

        :raises NotImplementedError: it has none that it tells.
        """
        raise NotImplementedError

    def check_ports(self) -> None:
        """:raises PortTaken: somebody listens on one of its ports."""
        for variable, port in self.ports.items():
            if not _is_free(port):
                raise PortTaken(
                    f"{self.name}: port {port} on {LOOPBACK} is taken by another program."
                    f" Free it, or set {variable} to another port (in the environment or in .env)."
                )

    def start(self, abandoned: threading.Event) -> None:
        """Start it and wait until it is ready.

        :raises ProcessError: it ended, or was not ready in time.
        """
        self.process.end_leftovers()
        self.check_ports()
        self.process.start(self.command())
        self.wait_until_ready(abandoned)

    def wait_until_ready(self, abandoned: threading.Event, *, timeout: float | None = None) -> None:
        """:param timeout: seconds; as long as it may take to start, when None.

        :raises ProcessError: it ended, or was not ready in time.
        """
        self.process.wait_until(
            self.problem,
            timeout=self.start_timeout if timeout is None else timeout,
            interval=self.poll_interval,
            abandoned=abandoned,
        )


def clean_environment() -> dict[str, str]:
    """This process's environment without what would steer a service past the stack's own settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    # A proxy for the outside world has no business between the parts.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, [environment.get(name), LOOPBACK, "localhost"]))
    return environment


def one_line(text: str) -> str:
    """Return the words of a service or an error as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_WORDS else f"{line[: _LONGEST_WORDS - 1]}…"


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As the servers do themselves: connections that are merely winding down are no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(1)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise ProcessError(
                    f"port {port} is reserved for the machine's administrator; take one above 1023"
                ) from error
            return False
    return True
