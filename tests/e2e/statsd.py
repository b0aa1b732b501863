"""The receiving end of Airflow's metrics by StatsD."""

from __future__ import annotations

import re
import shlex
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


class StatsdReceiver:
    """Listens on a free UDP port of this machine, and keeps the newest line of each metric."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._lines: dict[str, str] = {}
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The reader wakes up by a last datagram: closing the socket would not do it everywhere.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def variables_of_the_page(self) -> dict[str, str]:
        """Return what the commands for the embedded stack in docs/metrics.md export, with this port for theirs."""
        blocks = re.findall(r"^```sh\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        (block,) = [block for block in blocks if "STATSD_ON" in block and "make up" in block]
        first, *exports, last = block.splitlines()
        assert (first, last) == ("make stop", "make up")
        variables: dict[str, str] = {}
        for line in exports:
            command, *assignments = shlex.split(line)
            assert command == "export"
            variables |= {name: value for name, _, value in (text.partition("=") for text in assignments)}
        assert variables["AIRFLOW__METRICS__STATSD_HOST"] == "127.0.0.1"
        return variables | {"AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1])}

    def wait_for(self, metric: str, *, timeout: float) -> str:
        """Wait for a line of a metric.

        :param metric: its name with its tags.
        :param timeout: seconds.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: metric in self._lines, timeout)
            assert came, f"no {metric} within {timeout} s, but {sorted(self._lines)}"
            return self._lines[metric]

    def _receive(self) -> None:
        while received := self._socket.recv(65536):
            with self._changed:
                for line in received.decode().splitlines():
                    self._lines[line.partition(":")[0]] = line
                self._changed.notify_all()
