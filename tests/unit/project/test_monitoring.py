"""monitoring/, docs/metrics.md and docs/runbook.md against the code and against each other."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from datetime import date
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from maxy import service_checks
from maxy.days import CalendarDay
from maxy.loops.registry import loop_class
from maxy.loops.status import LoopStatus
from maxy.statistics import daily_metrics
from maxy.statistics.live.service_observer import CHECKED_DAYS
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.triggers import announcer
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORING = ROOT / "monitoring"
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))
ALERT_TESTS = sorted(MONITORING.glob("*_test.yaml"))
COLLECTOR = yaml.safe_load((MONITORING / "otel-collector.yaml").read_text(encoding="utf-8"))
MAPPING = yaml.safe_load((MONITORING / "statsd-mapping.yaml").read_text(encoding="utf-8"))
PROMETHEUS = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))

RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]

# Kind of each row that the tables of docs/metrics.md have: the name as Airflow sends it, and in Prometheus.
_ROW = re.compile(r"^\| (`[^|]+`) \| (counter|gauge|timing)[^|]*\|.*\| (`[^|]+`) \|$", re.MULTILINE)


def documented() -> Iterator[tuple[str, str, str]]:
    """Name, kind and name in Prometheus of every metric in docs/metrics.md."""
    for names, kind, in_prometheus in _ROW.findall(METRICS_PAGE):
        yield from zip(
            re.findall(r"`(.+?)`", names),
            [kind] * names.count("`"),
            re.findall(r"`(.+?)`", in_prometheus),
            strict=False,
        )


def metric_names(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads; of histograms, without the part behind the name."""
    return {re.sub(r"_(count|sum|bucket)$", "", name) for name in re.findall(r"\bairflow_\w+", expression)}


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- docs/metrics.md against the code


def test_every_metric_of_the_loops_is_documented_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: set[tuple[str, str]] = set()
    kinds = {"incr": "counter", "gauge": "gauge", "timing": "timing"}
    for function, kind in kinds.items():
        monkeypatch.setattr(
            f"maxy.triggers.announcer.stats.{function}", lambda name, *_, kind=kind, **__: sent.add((name, kind))
        )
    monkeypatch.setattr(announcer, "_initialize", lambda: False)
    observer = announcer.AirflowAnnouncer().observer("page")
    for failures in (0, 1):
        observer.ticked(LoopStatus(5.0, consecutive_failures=failures))
    watch = ast.parse((ROOT / "plugins" / "maxy" / "loops" / "watch.py").read_text(encoding="utf-8"))
    gauges = [
        call.args[0]
        for call in ast.walk(watch)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "gauge"
    ]
    assert gauges
    for name in gauges:
        assert isinstance(name, ast.Constant), f"line {name.lineno}: a name that is not written out cannot be compared"
        assert isinstance(name.value, str)
        sent.add((f"{announcer.METRIC_PREFIX}.{name.value}", "gauge"))
    assert sent == {(name, kind) for name, kind, _ in documented() if name.startswith(announcer.METRIC_PREFIX)}


def test_every_metric_of_the_service_is_documented_and_no_other() -> None:
    path = ROOT / "plugins" / "maxy" / "statistics" / "live" / "service_observer.py"
    named = re.findall(r'service_gauge\("(\w+)"', path.read_text(encoding="utf-8"))
    # Those of the days are sent in a loop over their names.
    named += re.findall(r'\("(days_\w+)", ProblemKind', path.read_text(encoding="utf-8"))
    assert len(named) == 6
    sent = {f"{announcer.SERVICE_PREFIX}.{name}" for name in named}
    assert sent == {name for name, _, _ in documented() if name.startswith(announcer.SERVICE_PREFIX)}


def test_the_alerts_of_disks_and_clocks_have_the_health_pages_limits() -> None:
    assert f"< {service_checks.LEAST_FREE_SHARE}" in rule("MaxyDiskAlmostFull")["expr"]
    assert f"< {service_checks.LEAST_FREE_BYTES}" in rule("MaxyDiskAlmostFull")["expr"]
    assert rule("MaxyClocksApart")["expr"].endswith(f"> {service_checks.MOST_SKEW_SECONDS:g}")
    for name in ("MaxyDayHasDuplicateRows", "MaxyDayNotCached"):
        assert f"of the last {CHECKED_DAYS} days" in rule(name)["annotations"]["summary"]


def test_every_metric_of_the_daily_job_is_documented_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: set[str] = set()
    monkeypatch.setattr("maxy.statistics.daily_metrics.stats.gauge", lambda name, value: sent.add(name))
    daily_metrics.send_day(CalendarDay(date(2026, 11, 20), ZoneInfo("UTC")), 1)
    assert sent == {name for name, _, _ in documented() if name.startswith(daily_metrics.METRIC_PREFIX)}


def test_airflow_knows_the_metrics_that_are_documented_as_its_own() -> None:
    from airflow.sdk._shared.observability.metrics.metrics_registry import MetricsRegistry

    registry = MetricsRegistry()
    # Its own list makes the names of the heartbeats from the names of the jobs, and calls timings timers.
    kinds = {"timer": "timing"}
    for name, kind, _ in documented():
        if not name.startswith("maxy."):
            entry = registry.get(name=name)
            assert entry is not None, name
            assert kinds.get(entry["type"], entry["type"]) == kind, name


def test_names_in_prometheus_follow_from_name_and_kind() -> None:
    suffix = {"counter": "_total", "gauge": "", "timing": "_milliseconds"}
    rows = list(documented())
    assert len(rows) > 25
    for name, kind, in_prometheus in rows:
        assert in_prometheus == f"airflow_{re.sub(r'[.-]', '_', name)}{suffix[kind]}"


# --- Rules and dashboard against docs/metrics.md


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_that_is_read_is_documented(expression: str) -> None:
    names = metric_names(expression)
    assert names
    assert names <= {in_prometheus for _, _, in_prometheus in documented()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_is_of_all_processes(expression: str) -> None:
    # By OpenTelemetry each process has series of its own.
    without = re.sub(r"\b(sum|max|min)( by \(\w+\))? ?\(|\babsent(_over_time)?\(", "AGGREGATED(", expression)
    for name in metric_names(expression):
        before = without[: without.index(name)]
        assert "AGGREGATED(" in before, name


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_loops_that_are_named_exist(expression: str) -> None:
    for names in re.findall(r'loop=~?"([^"]+)"', expression):
        assert set(names.split("|")) <= set(LIVE_LOOPS)


def test_limits_of_the_alerts_fit_the_periods_of_the_loops() -> None:
    watch = loop_class(LIVE_LOOPS["watch"]).options
    periods = {name: loop_class(path).period_seconds for name, path in LIVE_LOOPS.items() if name != "watch"}
    (stale,) = re.findall(r"> (\d+)$", rule("MaxyLoopStale")["expr"])
    assert int(stale) > max(watch["stale_periods"].default * period for period in periods.values())
    late = re.findall(r'loop=~"(\S+?)"}\) > (\d+)', rule("MaxyLoopLate")["expr"])
    limits = {name: float(limit) for names, limit in late for name in names.split("|")}
    assert limits == {name: watch["lag_periods"].default * period for name, period in periods.items()}
    assert rule("MaxyLoopFailing")["expr"].endswith(f">= {watch['failures'].default}")


def rule(name: str) -> dict[str, Any]:
    (found,) = [rule for rule in RULES if rule["alert"] == name]
    return found


@pytest.mark.parametrize("alert", RULES, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_means_and_where_help_is(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(RUNBOOK)


def test_names_of_alerts_are_unique_and_the_runbook_tells_of_no_other() -> None:
    names = [alert["alert"] for alert in RULES]
    assert sorted(set(names)) == sorted(names)
    assert set(re.findall(r"^### (Maxy\w+)$", RUNBOOK, re.MULTILINE)) == set(names)


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ALERT_TESTS]
    cases = [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]
    for name in (alert["alert"] for alert in RULES):
        outcomes = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
        assert outcomes == {True, False}, name


@pytest.mark.parametrize(
    "arguments", [["check", "rules", "alerts.yaml"], ["test", "rules", *(path.name for path in ALERT_TESTS)]]
)
def test_promtool_agrees(arguments: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert os.environ.get("MAXY_REQUIRE_PROMTOOL") != "1", "MAXY_REQUIRE_PROMTOOL is set, and there is no promtool"
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run([promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# --- The dashboard


def test_every_panel_asks_the_chosen_prometheus_and_has_a_place_of_its_own() -> None:
    assert [variable["type"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
    for panel in PANELS:
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


# --- The ways to Prometheus


def test_every_part_of_the_collectors_pipeline_is_configured() -> None:
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) == set(COLLECTOR[kind])


def test_prometheus_reads_the_rules_that_are_here_and_asks_where_the_collector_answers() -> None:
    assert PROMETHEUS["rule_files"] == ["alerts.yaml"]
    targets = [
        target
        for job in PROMETHEUS["scrape_configs"]
        for config in job["static_configs"]
        for target in config["targets"]
    ]
    port = COLLECTOR["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    assert f"otel-collector:{port}" in targets


def mapped(name: str, kind: str) -> str:
    """What statsd_exporter makes of a name: by the first rule that fits, else by itself."""
    stat = f"airflow.{name}"
    for mapping in MAPPING["mappings"]:
        found = re.search(mapping["match"], stat)
        if found and mapping["match_metric_type"] == {"timing": "observer"}.get(kind, kind):
            # Back to milliseconds.
            assert mapping.get("scale", 1) == (1000 if kind == "timing" else 1)
            # Go's ${1} is \g<1> here.
            return found.expand(re.sub(r"\$\{(\d)\}", r"\\g<\1>", mapping["name"]))
    return re.sub(r"[^a-zA-Z0-9_]", "_", stat)


def test_by_statsd_the_metrics_that_are_read_have_the_same_names() -> None:
    read = {name for expression in EXPRESSIONS for name in metric_names(expression)}
    for name, kind, in_prometheus in documented():
        if in_prometheus in read:
            assert mapped(name, kind) == in_prometheus


def test_every_rule_for_statsd_is_of_a_documented_metric() -> None:
    known = [(f"airflow.{name}", kind) for name, kind, _ in documented()]
    for mapping in MAPPING["mappings"]:
        assert any(re.search(mapping["match"], name) for name, _ in known), mapping["match"]


# --- The runbook


@pytest.mark.parametrize("page", ["metrics.md", "runbook.md"])
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if not path.startswith("http"):
            target = ROOT / "docs" / (path or page)
            assert target.exists(), path
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), (path, anchor)
