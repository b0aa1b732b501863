"""Who is told: the commands of docs/metrics.md on a stack, and what arrives when a run fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from local.airflow_tasks import wait_for_dag
from tests.e2e.conftest import ROOT
from tests.mailbox import Mailbox, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import RunningStack

DAILY = "device_statistic_daily"
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
BLOCKS = [
    block
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    if "maxy_failure_notifier" in block
]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    with serving(made):
        yield made


@pytest.fixture
def _forgotten(stack: RunningStack) -> Iterator[None]:
    """The stack tells nobody, before and after."""
    yield
    stack.api.request("DELETE", "/variables/maxy_failure_notifier")
    for connection in stack.api.request("GET", "/connections", query={"limit": 100})["connections"]:
        if connection["connection_id"] in ("alerts", "mail"):
            stack.api.request("DELETE", f"/connections/{connection['connection_id']}")


def follow(stack: RunningStack, block: str) -> None:
    """Run commands of the page as they stand there, on the embedded stack."""
    script = f'airflow() {{ "{sys.executable}" -m local airflow "$@"; }}\n{block}'
    answer = subprocess.run(
        ["bash", "-ec", script], cwd=ROOT, env=dict(stack.environment), capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.usefixtures("_forgotten")
def test_a_failed_run_is_told_by_mail_after_the_commands_of_the_page(stack: RunningStack, mailbox: Mailbox) -> None:
    (block,) = [block for block in BLOCKS if "--conn-type smtp" in block]
    for there, here in (
        ("smtp.example.com", "127.0.0.1"),
        ("587", str(mailbox.port)),
        ('"disable_ssl": true', '"disable_ssl": true, "disable_tls": true'),
    ):
        assert there in block
        block = block.replace(there, here)
    follow(stack, block)
    wait_for_dag(stack.api, DAILY)
    stack.api.request("PATCH", f"/dags/{DAILY}", body={"is_paused": False})

    next_year = date.today() + timedelta(days=365)
    body = {"logical_date": None, "conf": {"stat_date": str(next_year)}}
    run = stack.api.request("POST", f"/dags/{DAILY}/dagRuns", body=body)

    deadline = time.monotonic() + 90
    while not mailbox.mails:
        assert time.monotonic() < deadline, "no mail came"
        time.sleep(0.2)
    mail = mailbox.mails[0]
    assert mail["Subject"] == f"Trouble: {DAILY}"
    told = mail.get_body(("html",))
    assert told is not None
    assert run["dag_run_id"] in told.get_content()
    assert f"stat_date {next_year} lies in the future" in told.get_content()


@pytest.mark.usefixtures("_forgotten")
def test_the_commands_for_a_webhook_are_taken_as_they_stand(stack: RunningStack) -> None:
    (block,) = [block for block in BLOCKS if "add alerts" in block]
    follow(stack, block)
    assert stack.api.request("GET", "/connections/alerts")["conn_type"] == "generic"
    setting = json.loads(stack.api.request("GET", "/variables/maxy_failure_notifier")["value"])
    assert setting["class"] == "webhook_notifier.WebhookNotifier"
