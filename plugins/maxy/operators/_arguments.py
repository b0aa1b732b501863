"""The keyword arguments that operators hand on to their base classes, so that type checkers know a misspelt one.

The classes take ``**kwargs: Unpack[...]`` of these. A test compares them with the signatures of the base classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Required, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
    from datetime import datetime, timedelta
    from typing import TypeAlias

    from airflow.sdk import DAG, Context, TaskGroup
    from airflow.sdk.definitions._internal.abstractoperator import TaskStateChangeCallback
    from airflow.sdk.definitions.retry_policy import RetryPolicy
    from airflow.sdk.types import WeightRuleParam

    _Callbacks: TypeAlias = TaskStateChangeCallback | Collection[TaskStateChangeCallback] | None
    _ListOfCallbacks: TypeAlias = TaskStateChangeCallback | list[TaskStateChangeCallback] | None


class OperatorArguments(TypedDict, total=False):
    """Those of every operator of Airflow."""

    task_id: Required[str]
    owner: str
    email: str | Sequence[str] | None
    email_on_retry: bool
    email_on_failure: bool
    retries: int | None
    retry_delay: timedelta | float
    retry_exponential_backoff: float
    max_retry_delay: timedelta | float | None
    retry_policy: RetryPolicy | None
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    wait_for_downstream: bool
    dag: DAG | None
    params: MutableMapping[str, Any] | None
    default_args: dict[str, Any] | None
    priority_weight: int
    weight_rule: WeightRuleParam
    queue: str
    pool: str | None
    pool_slots: int
    sla: timedelta | None
    execution_timeout: timedelta | None
    on_execute_callback: _Callbacks
    on_failure_callback: _ListOfCallbacks
    on_success_callback: _Callbacks
    on_retry_callback: _ListOfCallbacks
    on_skipped_callback: _Callbacks
    pre_execute: Callable[[Context], None] | None
    post_execute: Callable[[Context, Any], None] | None
    trigger_rule: str
    resources: dict[str, Any] | None
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: dict[str, Any] | None
    do_xcom_push: bool
    multiple_outputs: bool
    inlets: Any
    outlets: Any
    task_group: TaskGroup | None
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None


class SensorArguments(OperatorArguments, total=False):
    """Those of every sensor of Airflow."""

    poke_interval: timedelta | float
    timeout: timedelta | float | None
    soft_fail: bool
    mode: str
    exponential_backoff: bool
    max_wait: timedelta | float | None
    silent_fail: bool
    never_fail: bool


class TemplateArguments(OperatorArguments, total=False):
    """Those of :class:`~maxy.operators.clickhouse.ClickHouseTemplateOperator`, for the operators built on it."""

    sql: Required[str | Sequence[str]]
    parameters: Mapping[str, Any] | None
    timezone: str
    settings: Mapping[str, Any] | None
    clickhouse_conn_id: str
    database: str | None


class SqlCheckArguments(OperatorArguments, total=False):
    """Those of the checks of Airflow's SQL provider."""

    partition_clause: str | None
    conn_id: str | None
    database: str | None
    hook_params: dict[str, Any] | None
    retry_on_failure: bool
