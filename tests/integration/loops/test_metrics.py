"""The live loops' metrics leave a process that Airflow has not set up for metrics, as the triggerer's runner is one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SEND = """
from datetime import UTC, datetime
from maxy.loops.status import LoopStatus
from maxy.triggers.announcer import AirflowAnnouncer

announcer = AirflowAnnouncer()
announcer.gauge("age_seconds", 4.5, "log_meter")
announcer.gauge("age_seconds", 9.5, "page")
for _ in range(3):
    announcer.observer("page").ticked(LoopStatus(30.0, duration_seconds=0.25, rows=1200, keys=33))
announcer.observer("page").ticked(LoopStatus(30.0, duration_seconds=2.0, consecutive_failures=1))
"""


class Collector(ThreadingHTTPServer):
    """Takes metrics as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.received: list[ExportMetricsServiceRequest] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def values(self) -> dict[tuple[str, str], float]:
        """The last value of each metric, by name and the tag ``loop``; of timings, how many."""
        found: dict[tuple[str, str], float] = {}
        for request in self.received:
            for resource in request.resource_metrics:
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    content = getattr(metric, metric.WhichOneof("data"))
                    for point in content.data_points:
                        tags = {tag.key: tag.value.string_value for tag in point.attributes}
                        number = point.count if hasattr(point, "count") else point.as_double or point.as_int
                        found[metric.name, tags.get("loop", "")] = number
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_metrics_arrive_at_the_collector_that_airflow_is_configured_for(collector: Collector) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run([sys.executable, "-c", SEND], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    prefix = "airflow.maxy.realtime"
    sent = {key: value for key, value in collector.values().items() if key[0].startswith(prefix)}
    with_tag = {
        (f"{prefix}.age_seconds", "log_meter"): 4.5,
        (f"{prefix}.age_seconds", "page"): 9.5,
        (f"{prefix}.ticks", "page"): 3,
        (f"{prefix}.failures", "page"): 1,
        (f"{prefix}.tick", "page"): 4,
        (f"{prefix}.blocked_seconds", "page"): 0,
        (f"{prefix}.rows", "page"): 1200,
        (f"{prefix}.keys", "page"): 33,
    }
    with_loop_in_name = {
        (f"{prefix}.{loop}.{name.removeprefix(f'{prefix}.')}", ""): value for (name, loop), value in with_tag.items()
    }
    assert sent == with_tag | with_loop_in_name
