"""Tell people that a task has failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, Variable
from airflow.sdk.module_loading import import_string  # type: ignore[attr-defined]

from maxy._addresses import hide_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

_SETTING = "maxy_failure_notifier"


class FailureNotifier(BaseNotifier):
    """Log a failed task in one line, and hand it to the notifier of the installation's choice if there is one.

    The Airflow variable ``maxy_failure_notifier`` holds it as JSON: the class of any Airflow notifier and its
    arguments, which that notifier renders with the task's context, e.g.
    ``{"class": "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier",
    "arguments": {"slack_webhook_conn_id": "slack", "text": "{{ ti.task_id }} failed for {{ dag.dag_id }}"}}``.
    Secrets belong into the connection that it names. A notifier that fails does not hide the line in the log.
    """

    def notify(self, context: Context) -> None:
        """Log the failure, then pass it on."""
        ti = context["ti"]
        self.log.error(
            "Task failed: dag %s, task %s, run %s, try %s: %s",
            ti.dag_id,
            ti.task_id,
            ti.run_id,
            ti.try_number,
            context.get("exception"),
        )
        try:
            notify_configured(context)
        except Exception:
            self.log.exception("The notifier in Airflow variable %s failed", _SETTING)


def notify_configured(context: Context) -> None:
    """Hand a context to the notifier of the installation's choice, if there is one; the live loops' alerts come here.

    :raises ValueError: if the variable does not hold what is described above.
    :raises Exception: whatever that notifier raises.
    """
    configured = Variable.get(_SETTING, default="")
    if configured:
        _notifier(configured)(_without_addresses(context))


def _without_addresses(context: Context) -> Context:
    """Return a context whose exception names no server; it stays as it is where it names none anyway."""
    text = str(context.get("exception", ""))
    hidden = hide_addresses(text)
    if hidden == text:
        return context
    changed: Any = {**context, "exception": hidden}
    return changed  # type: ignore[no-any-return]


def _notifier(configured: str) -> BaseNotifier:
    """Make the configured notifier.

    :raises ValueError: if the variable does not hold what is described above.
    """
    try:
        setting: Mapping[str, Any] = json.loads(configured)
        notifier_class = import_string(setting["class"])
        notifier = notifier_class(**setting.get("arguments", {}))
    except (ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise ValueError(f"Airflow variable {_SETTING}: {type(error).__name__}: {error}") from error
    if not isinstance(notifier, BaseNotifier):
        raise ValueError(f"Airflow variable {_SETTING}: {setting['class']} is not a notifier")
    return notifier
