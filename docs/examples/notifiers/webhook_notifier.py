"""Tells a chat room: a notifier that posts one line of text to a webhook, as Slack, Mattermost and Rocket.Chat take it.

Copy this file into `plugins/`, add its name to `plugins/.airflowignore`, restart the triggerer, and put the text of
`webhook.json` into the Airflow variable `maxy_failure_notifier`. The address is a secret, for whoever knows it can
post: it is the password of the Airflow connection `alerts`, which Airflow encrypts, and hides in logs.
"""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseNotifier, Connection

if TYPE_CHECKING:
    from airflow.sdk import Context


class WebhookNotifier(BaseNotifier):
    """Post ``{"text": ...}``.

    :param text: what to say. (templated)
    :param webhook_conn_id: Airflow connection whose password is the address, ``https://…``.
    :param timeout: seconds until the server counts as gone.
    :raises ValueError: if the connection holds no address.
    :raises urllib.error.URLError: on a server or network error, and for an answer other than 2xx.
    """

    template_fields = ("text",)

    def __init__(self, *, text: str, webhook_conn_id: str = "alerts", timeout: float = 10.0) -> None:
        super().__init__()
        self.text = text
        self.webhook_conn_id = webhook_conn_id
        self.timeout = timeout

    def notify(self, context: Context) -> None:
        """Post it."""
        address = Connection.get(self.webhook_conn_id).password or ""
        if urlsplit(address).scheme not in ("http", "https"):
            # Without the address: it may be a secret with a typing error.
            raise ValueError(f"the password of connection {self.webhook_conn_id} is no address (http:// or https://)")
        request = urllib.request.Request(
            address,
            data=json.dumps({"text": self.text}).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            response.read()
