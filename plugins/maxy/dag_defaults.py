"""What all DAGs of the package have in common: default arguments and the vocabulary of tags."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from maxy.notifiers.failure import FailureNotifier
from maxy.run_parameters import check_run_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tag(StrEnum):
    """The tags a DAG may carry: one of each kind. The third kind, ``domain:…``, is its family's."""

    TIER_1 = "tier:1"
    DAILY = "cadence:daily"
    LIVE = "cadence:live"


DEFAULT_ARGS: Mapping[str, Any] = {
    "owner": "maxy",
    "depends_on_past": False,
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    # Bounds a task whose server accepts the connection and then never answers.
    "execution_timeout": timedelta(hours=1),
    "on_failure_callback": FailureNotifier(),
    # Before anything is done, in whichever task a run begins or is cleared.
    "pre_execute": check_run_parameters,
}
