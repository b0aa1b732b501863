"""monitoring/ and the pages of metrics and of what to do, of all families, against the code and against each other."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from maxy import service_checks
from maxy.families import load_families
from maxy.loops.status import LoopStatus
from maxy.loops.watch import Watch
from maxy.triggers import announcer
from tests.conftest import ROOT
from tests.docs.blocks import anchors
from tests.monitoring import (
    ALERT_FILES,
    ALERT_TESTS,
    DASHBOARD_FILES,
    MONITORING,
    Rule,
    dashboards,
    expressions,
    family_of,
    metrics,
    pages,
    panels,
    periods,
    rule_named,
    rules,
    rules_named,
)

if TYPE_CHECKING:
    from pathlib import Path

COLLECTOR = yaml.safe_load((MONITORING / "otel-collector.yaml").read_text(encoding="utf-8"))
MAPPING = yaml.safe_load((MONITORING / "statsd-mapping.yaml").read_text(encoding="utf-8"))
PROMETHEUS = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
EXPRESSIONS = [expression for _, expression in expressions()]


def metric_names(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads; of histograms, without the part behind the name."""
    return {re.sub(r"_(count|sum|bucket)$", "", name) for name in re.findall(r"\bairflow_\w+", expression)}


@pytest.mark.parametrize("path", [*ALERT_FILES, *ALERT_TESTS, *DASHBOARD_FILES], ids=lambda path: path.name)
def test_a_file_is_shared_or_of_a_family_that_there_is(path: Path) -> None:
    assert family_of(path) in {None, *(family.name for family in load_families())}


# --- The tables of metrics against the code


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
    assert sent == {(one.name, one.kind) for one in metrics() if one.name.startswith(announcer.METRIC_PREFIX)}


def test_the_alerts_of_disks_and_clocks_have_the_health_pages_limits() -> None:
    assert f"< {service_checks.LEAST_FREE_SHARE}" in rule_named("MaxyDiskAlmostFull").expression
    assert f"< {service_checks.LEAST_FREE_BYTES}" in rule_named("MaxyDiskAlmostFull").expression
    assert rule_named("MaxyClocksApart").expression.endswith(f"> {service_checks.MOST_SKEW_SECONDS:g}")


def test_airflow_knows_the_metrics_that_are_documented_as_its_own() -> None:
    from airflow.sdk._shared.observability.metrics.metrics_registry import MetricsRegistry

    registry = MetricsRegistry()
    # Its own list makes the names of the heartbeats from the names of the jobs, and calls timings timers.
    kinds = {"timer": "timing"}
    for one in metrics():
        if not one.name.startswith("maxy."):
            entry = registry.get(name=one.name)
            assert entry is not None, one
            assert kinds.get(entry["type"], entry["type"]) == one.kind, one


def test_names_in_prometheus_follow_from_name_and_kind() -> None:
    suffix = {"counter": "_total", "gauge": "", "timing": "_milliseconds"}
    rows = list(metrics())
    assert len(rows) > 25
    for one in rows:
        assert one.in_prometheus == f"airflow_{re.sub(r'[.-]', '_', one.name)}{suffix[one.kind]}"


def test_a_metric_is_in_one_table() -> None:
    names = [one.name for one in metrics()]
    assert sorted(set(names)) == sorted(names)


# --- Rules and dashboards against the tables


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_that_is_read_is_documented(expression: str) -> None:
    names = metric_names(expression)
    assert names
    assert names <= {one.in_prometheus for one in metrics()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_is_of_all_processes(expression: str) -> None:
    # By OpenTelemetry each process has series of its own.
    without = re.sub(r"\b(sum|max|min)( by \(\w+\))? ?\(|\babsent(_over_time)?\(", "AGGREGATED(", expression)
    for name in metric_names(expression):
        before = without[: without.index(name)]
        assert "AGGREGATED(" in before, name


@pytest.mark.parametrize(("family", "expression"), expressions())
def test_loops_and_dags_that_are_named_are_the_familys(family: str | None, expression: str) -> None:
    # What all families share names none of them.
    loops = periods().get(family, {}) if family else {}
    for names in re.findall(r'loop=~?"([^"]+)"', expression):
        assert set(names.split("|")) <= set(loops)
    dags = {path.stem for path in (ROOT / "dags").glob("*.py")} if family else set()
    assert set(re.findall(r'dag_id="(\w+)"', expression)) <= dags


def test_limits_of_the_alerts_fit_the_periods_of_the_loops() -> None:
    watch = Watch.options
    every = [period for loops in periods().values() for period in loops.values()]
    (stale,) = re.findall(r"> (\d+)$", rule_named("MaxyLoopStale").expression)
    assert int(stale) > max(watch["stale_periods"].default * period for period in every)
    assert rule_named("MaxyLoopFailing").expression.endswith(f">= {watch['failures'].default}")


def test_every_family_has_an_alert_for_late_ticks_of_all_its_loops() -> None:
    lag_periods = Watch.options["lag_periods"].default
    limits = {}
    for rule in rules_named("MaxyLoopLate"):
        late = re.findall(r'loop=~?"(\S+?)"}\) > (\d+)', rule.expression)
        limits[rule.family] = {name: float(limit) for names, limit in late for name in names.split("|")}
    assert limits == {
        family: {name: lag_periods * period for name, period in loops.items()}
        for family, loops in periods().items()
        if loops
    }


@pytest.mark.parametrize("rule", rules(), ids=str)
def test_every_alert_says_what_it_means_and_where_help_is(rule: Rule) -> None:
    assert rule.content["labels"]["severity"] in ("critical", "warning")
    annotations = rule.content["annotations"]
    assert annotations["summary"]
    assert annotations["description"].endswith(".")
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert page in {"docs/runbook.md", f"docs/{rule.family}/runbook.md"}
    assert anchor == rule.name.lower()
    assert anchor in anchors(ROOT / page)


def test_alerts_of_one_name_say_the_same_and_are_of_different_families() -> None:
    for name in {rule.name for rule in rules()}:
        alike = rules_named(name)
        assert len({rule.family for rule in alike}) == len(alike), name
        assert all(rule.content["annotations"] == alike[0].content["annotations"] for rule in alike), name
        assert all(rule.content["labels"] == alike[0].content["labels"] for rule in alike), name


def test_the_runbooks_tell_of_every_alert_once_and_of_no_other() -> None:
    told = [
        f"{page.relative_to(ROOT).as_posix()}#{name.lower()}"
        for page in pages("runbook.md")
        for name in re.findall(r"^### (Maxy\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(told) == sorted({rule.content["annotations"]["runbook_url"] for rule in rules()})


@pytest.mark.parametrize("path", ALERT_FILES, ids=lambda path: path.name)
def test_every_alert_is_seen_to_fire_and_not_to_fire(path: Path) -> None:
    files = [yaml.safe_load(test.read_text(encoding="utf-8")) for test in ALERT_TESTS]
    tests = [test for file in files if file["rule_files"] == [path.name] for test in file["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule.name for rule in rules() if rule.family == family_of(path)}
    for name in names:
        outcomes = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
        assert outcomes == {True, False}, name
    # Of an alert that the file has not got, a test would see nothing but silence.
    assert {case["alertname"] for case in cases} == names


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", *(path.name for path in ALERT_FILES)],
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", *(path.name for path in ALERT_TESTS)],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert os.environ.get("MAXY_REQUIRE_PROMTOOL") != "1", "MAXY_REQUIRE_PROMTOOL is set, and there is no promtool"
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run([promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# --- The dashboards


@pytest.mark.parametrize("path", DASHBOARD_FILES, ids=lambda path: path.name)
def test_every_panel_asks_the_chosen_prometheus_and_has_a_place_of_its_own(path: Path) -> None:
    dashboard = dashboards()[path]
    assert [variable["type"] for variable in dashboard["templating"]["list"]] == ["datasource"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
    for panel in panels(dashboard):
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_dashboards_are_told_apart_and_lead_to_each_other() -> None:
    every = list(dashboards().values())
    for name in ("uid", "title"):
        assert len({dashboard[name] for dashboard in every}) == len(every)
    for dashboard in every:
        assert "maxy" in dashboard["tags"]
        assert [(link["type"], link["tags"]) for link in dashboard["links"]] == [("dashboards", ["maxy"])]


# --- The ways to Prometheus


def test_every_part_of_the_collectors_pipeline_is_configured() -> None:
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) == set(COLLECTOR[kind])


def test_prometheus_reads_the_rules_that_are_here_and_asks_where_the_collector_answers() -> None:
    read = [path for pattern in PROMETHEUS["rule_files"] for path in MONITORING.glob(pattern)]
    assert sorted(read) == ALERT_FILES
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
    for one in metrics():
        if one.in_prometheus in read:
            assert mapped(one.name, one.kind) == one.in_prometheus


def test_every_rule_for_statsd_is_of_a_documented_metric() -> None:
    known = [f"airflow.{one.name}" for one in metrics()]
    for mapping in MAPPING["mappings"]:
        assert any(re.search(mapping["match"], name) for name in known), mapping["match"]
