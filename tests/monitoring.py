"""What monitoring/ and the docs have of every family, found by the names of their files.

``alerts.yaml``, ``dashboard.json``, ``docs/metrics.md`` and ``docs/runbook.md`` are of what all families share; those
of a family are ``<family>.alerts.yaml``, ``<family>.dashboard.json``, ``docs/<family>/metrics.md`` and
``docs/<family>/runbook.md``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from maxy.families import families_with_loops
from maxy.loops.registry import loop_class
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MONITORING = ROOT / "monitoring"
ALERT_FILES = sorted(MONITORING.glob("*alerts.yaml"))
ALERT_TESTS = sorted(MONITORING.glob("*_test.yaml"))
DASHBOARD_FILES = sorted(MONITORING.glob("*dashboard.json"))

# Kind of each row that the tables of metrics have: the name as Airflow sends it, and in Prometheus.
_METRIC = re.compile(r"^\| (`[^|]+`) \| (counter|gauge|timing)[^|]*\|.*\| (`[^|]+`) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """An alert.

    :param family: whose it is; None if it is of what all share.
    :param content: as it stands in the file.
    """

    family: str | None
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The alert's name."""
        return str(self.content["alert"])

    @property
    def expression(self) -> str:
        """When it fires."""
        return str(self.content["expr"])

    def __str__(self) -> str:
        return f"{self.family or 'shared'}-{self.name}"


@dataclass(frozen=True)
class Metric:
    """A row of a table of metrics.

    :param name: as Airflow sends it.
    :param kind: counter, gauge or timing.
    :param in_prometheus: its name there.
    """

    name: str
    kind: str
    in_prometheus: str


def family_of(path: Path) -> str | None:
    """Return whose file it is; None if it is of what all families share."""
    family, _, rest = path.name.partition(".")
    return family if "." in rest else None


def rules() -> list[Rule]:
    """Return every alert."""
    read = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ALERT_FILES}
    return [
        Rule(family_of(path), rule)
        for path, file in read.items()
        for group in file["groups"]
        for rule in group["rules"]
    ]


def rules_named(name: str) -> list[Rule]:
    """Return the alerts of a name: several, where each family has one."""
    return [rule for rule in rules() if rule.name == name]


def rule_named(name: str) -> Rule:
    """Return the only alert of a name."""
    (found,) = rules_named(name)
    return found


def dashboards() -> dict[Path, Any]:
    """Return every dashboard."""
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARD_FILES}


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard without the headings between them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str | None, str]]:
    """Return what alerts and dashboards ask, each with the family whose it is."""
    asked = [
        (family_of(path), str(target["expr"]))
        for path, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]
    return [(rule.family, rule.expression) for rule in rules()] + asked


def pages(name: str) -> list[Path]:
    """Return a page and those of its name that families have.

    :param name: such as ``metrics.md``.
    """
    return [ROOT / "docs" / name, *sorted((ROOT / "docs").glob(f"*/{name}"))]


def metrics() -> Iterator[Metric]:
    """Yield every metric in the tables of all pages."""
    for page in pages("metrics.md"):
        for names, kind, in_prometheus in _METRIC.findall(page.read_text(encoding="utf-8")):
            sent, stored = re.findall(r"`(.+?)`", names), re.findall(r"`(.+?)`", in_prometheus)
            yield from (Metric(one, kind, other) for one, other in zip(sent, stored, strict=True))


def periods() -> dict[str, dict[str, float]]:
    """Return the seconds between two ticks of each loop that is watched, by family."""
    return {
        family.name: {name: loop_class(path).period_seconds for name, path in loops.classes.items() if name != "watch"}
        for family, loops in families_with_loops()
    }
