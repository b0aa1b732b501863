"""What the stack's commands ask Airflow to do, and wait for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from local.settings import ADMIN_USER
from local.stack import StackError
from scripts.backfill import AirflowApi, ApiError, BackfillRequest, run_and_describe
from scripts.recache import run_and_describe as recache_days

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.settings import Settings
    from local.stack import Stack
    from scripts.backfill import Api
    from scripts.recache import RecacheRequest


def airflow_api(settings: Settings) -> AirflowApi:
    return AirflowApi(settings.airflow_url, username=ADMIN_USER, password=settings.airflow_admin_password)


def backfill(stack: Stack, request: BackfillRequest) -> int:
    """:raises BackfillError: it cannot be started or followed.

    :raises StackError: Airflow does not run.
    """
    # It begins between two other commands. While it waits, the stack may be stopped and started again.
    with stack.exclusive():
        stack.require_airflow()
    settings = stack.settings
    return run_and_describe(
        airflow_api(settings), request, url=settings.airflow_url, report=lambda line: print(line, flush=True)
    )


def recache(stack: Stack, request: RecacheRequest) -> int:
    """:raises ScriptError: it cannot be started or followed.

    :raises StackError: Airflow does not run.
    """
    # As for a backfill.
    with stack.exclusive():
        stack.require_airflow()
    settings = stack.settings
    return recache_days(
        airflow_api(settings), request, url=settings.airflow_url, report=lambda line: print(line, flush=True)
    )


def wait_for_dag(
    api: AirflowApi,
    dag_id: str,
    *,
    timeout: float = 120.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until Airflow has read the DAG's file.

    :param timeout: seconds.
    :raises StackError: it has not; with the import errors, of which one is the likely reason.
    """
    deadline = monotonic() + timeout
    while True:
        try:
            api.request("GET", f"/dags/{dag_id}")
            return
        except ApiError as error:
            if error.status != 404:
                raise
        if monotonic() >= deadline:
            raise StackError(f"Airflow has not read the DAG {dag_id} within {timeout:.0f} s.{import_errors(api)}")
        sleep(0.5)


def import_errors(api: Api) -> str:
    errors = api.request("GET", "/importErrors")["import_errors"]
    return "".join(f"\n{error['filename']}:\n{error['stack_trace']}" for error in errors)
