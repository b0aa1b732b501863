"""What the flows have in common: where the server is, a look into it that no client takes part in, and the report.

A flow runs in the environment of its peer, so nothing but the standard library is imported here.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

_SECONDS = 60


@dataclass(frozen=True)
class Address:
    """The server that a flow is for, as the runner says it in the environment."""

    host: str
    http_port: int
    tcp_port: int
    user: str
    password: str

    @classmethod
    def of_environment(cls) -> Address:
        return cls(
            host=os.environ["PEERS_HOST"],
            http_port=int(os.environ["PEERS_HTTP_PORT"]),
            tcp_port=int(os.environ["PEERS_TCP_PORT"]),
            user=os.environ["PEERS_USER"],
            password=os.environ["PEERS_PASSWORD"],
        )

    def rows(self, statement: str, **parameters: object) -> list[list[Any]]:
        """Return what ``statement`` selects, by plain HTTP: integers of 64 bits as numbers, decimals as text."""
        arguments: dict[str, object] = {
            "default_format": "JSONCompactEachRow",
            "output_format_json_quote_64bit_integers": 0,
            "output_format_json_quote_decimals": 1,
        }
        arguments |= {f"param_{name}": value for name, value in parameters.items()}
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://{self.host}:{self.http_port}/?{urllib.parse.urlencode(arguments)}",
            data=statement.encode(),
            headers={"Authorization": f"Basic {login}"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return [json.loads(line) for line in reply.read().splitlines()]

    def value(self, statement: str, **parameters: object) -> Any:
        """Return the one value that ``statement`` selects."""
        ((value,),) = self.rows(statement, **parameters)
        return value


class Report:
    """Counts what came out as expected, says what did not, and goes on after it.

    :param packages: whose versions stand in the report.
    """

    def __init__(self, *packages: str) -> None:
        self._versions = {package: version(package) for package in packages}
        self._passed: list[str] = []
        self._failed: list[str] = []

    def expect(self, what: str, actual: object, expected: object) -> None:
        """Note whether ``actual`` is ``expected``."""
        good = actual == expected
        (self._passed if good else self._failed).append(what)
        detail = "" if good else f"\n    expected {_shortened(expected)}\n    found    {_shortened(actual)}"
        print(f"{'ok  ' if good else 'FAIL'} {what}{detail}", flush=True)

    def end(self) -> None:
        """Leave the report for the runner, and end the process: with 1 when anything was not as expected."""
        content = {"versions": self._versions, "passed": self._passed, "failed": self._failed}
        Path(os.environ["PEERS_REPORT"]).write_text(json.dumps(content), encoding="utf-8")
        sys.exit(1 if self._failed else 0)


def scratch_folder() -> Path:
    """Return the folder in which a flow may leave what it likes: the runner removes it."""
    return Path(os.environ["PEERS_SCRATCH"])


def _shortened(value: object, length: int = 500) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
