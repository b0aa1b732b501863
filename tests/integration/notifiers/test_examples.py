"""The notifiers of docs/examples/notifiers, as docs/metrics.md tells to use them, against servers of this process."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from maxy.notifiers.failure import FailureNotifier
from maxy.triggers.announcer import AirflowAnnouncer
from tests.conftest import ROOT
from tests.mailbox import Mailbox, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = ROOT / "docs" / "examples" / "notifiers"
FAILED_TASK = {
    "ti": SimpleNamespace(dag_id="device_statistic_daily", task_id="rollup", run_id="manual__1", try_number=4),
    "exception": ValueError("no <table> 'x'"),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The file lies in plugins/ where it is used.
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", text)


def alert(message: str, *, cleared: bool = False) -> None:
    asyncio.run(AirflowAnnouncer().alert("page", message, cleared=cleared))


# --- Webhook


class Room(ThreadingHTTPServer):
    """Takes what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Room

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with Room() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/hook/secret"
        monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps({"conn_type": "http", "password": address}))
        yield server
        server.shutdown()
        thread.join()


def test_the_webhook_hears_of_a_failed_task(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    use(monkeypatch, "webhook.json")
    FailureNotifier()({**FAILED_TASK})
    assert room.posted == [("/hook/secret", {"text": "🔴 device_statistic_daily.rollup: no <table> 'x'"})]


def test_the_webhook_hears_of_a_loop_in_trouble_and_of_its_end(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    use(monkeypatch, "webhook.json")
    alert("realtime_page is in trouble: 3 ticks failed in a row")
    alert("realtime_page works again", cleared=True)
    assert [body["text"] for _, body in room.posted] == [
        "🔴 realtime_page.run_loop: realtime_page is in trouble: 3 ticks failed in a row",
        "✅ realtime_page.run_loop: realtime_page works again",
    ]


def test_an_alert_that_the_webhook_refuses_is_an_error_so_that_it_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, room: Room
) -> None:
    use(monkeypatch, "webhook.json")
    room.status = 500
    with pytest.raises(HTTPError, match="500"):
        alert("no good tick")


def test_a_connection_without_an_address_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "webhook.json")
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps({"conn_type": "http", "password": "hooks.example/s3cret"}))
    with pytest.raises(ValueError, match="connection alerts") as raised:
        alert("no good tick")
    assert "s3cret" not in str(raised.value)


# --- E-mail


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    made = Mailbox()
    with serving(made):
        extra = {"disable_ssl": True, "disable_tls": True}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": made.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(connection))
        yield made


def test_a_mail_tells_of_a_failed_task(monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox) -> None:
    use(monkeypatch, "email.json")
    FailureNotifier()({**FAILED_TASK})
    (mail,) = mailbox.mails
    assert (mail["From"], mail["To"]) == ("airflow@example.com", "statistics@example.com")
    assert mail["Subject"] == "Trouble: device_statistic_daily"
    body = mail.get_body(("html",))
    assert body is not None
    assert "device_statistic_daily.rollup manual__1" in body.get_content()
    assert "no &lt;table&gt; &#39;x&#39;" in body.get_content()


def test_a_mail_tells_of_a_loop_in_trouble_and_of_its_end(monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox) -> None:
    use(monkeypatch, "email.json")
    alert("realtime_page is in trouble: 3 ticks failed in a row")
    alert("realtime_page works again", cleared=True)
    assert [mail["Subject"] for mail in mailbox.mails] == ["Trouble: realtime_page", "Over: realtime_page"]


def test_every_example_is_one_that_is_tried_here() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert names == {"email.json", "webhook.json", "webhook_notifier.py"}
