"""Whether the server is about to end, as its handler of SIGTERM tells."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from maxy.web.shutdown import is_server_stopping


def handle_with(monkeypatch: pytest.MonkeyPatch, handler: Any) -> None:
    handlers = {signal.SIGTERM: handler}
    monkeypatch.setattr("maxy.web.shutdown.signal.getsignal", handlers.__getitem__)


def test_uvicorn_is_stopping_as_soon_as_it_was_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = uvicorn.Server(uvicorn.Config("nothing:app"))
    handle_with(monkeypatch, server.handle_exit)
    assert not is_server_stopping()
    server.handle_exit(signal.SIGTERM, None)
    assert is_server_stopping()


@pytest.mark.parametrize(
    "handler",
    [signal.SIG_DFL, signal.SIG_IGN, None, lambda *_: None, SimpleNamespace(should_exit=True), "text".upper],
    ids=["default", "ignored", "unknown", "function", "server", "method"],
)
def test_no_other_handler_says_so(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handle_with(monkeypatch, handler)
    assert not is_server_stopping()
