"""What a run was asked, held against what its DAG can be asked: a key that nobody reads is an error, not a silence."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow.sdk import Context


def check_run_parameters(context: Context) -> None:
    """Refuse a run whose ``conf`` holds what is no parameter of its DAG, or what has not become its parameter.

    Airflow takes any key, so that a misspelt one would leave the run with its defaults. For ``pre_execute``: every DAG
    of the package has it in its default arguments.

    :raises AirflowFailException: naming the keys and the parameters there are; a retry cannot help.
    """
    conf = context["dag_run"].conf or {}
    task = context["task"]
    known = [*dict.fromkeys([*(task.dag.params if task.dag else ()), *task.params])]
    unknown = [key for key in conf if key not in known]
    if unknown:
        raise AirflowFailException(_unknown(task.dag_id, unknown, known))
    params = context["params"]
    ignored = [key for key, value in conf.items() if params[key] != value]
    if ignored:
        raise AirflowFailException(
            f"{task.dag_id}: this run's conf says {', '.join(f'{key}={conf[key]!r}' for key in ignored)}, but its"
            f" parameters are {', '.join(f'{key}={params[key]!r}' for key in ignored)}: Airflow's setting"
            " core.dag_run_conf_overrides_params is off, so that conf has no effect"
        )


def _unknown(dag_id: str, unknown: Collection[str], known: Collection[str]) -> str:
    names = ", ".join(map(repr, unknown))
    are = "is no parameter" if len(unknown) == 1 else "are no parameters"
    has = f"it has {', '.join(known)}" if known else "it has none: run it without conf"
    return f"conf: {names} {are} of {dag_id}; {has}{_suggestions(unknown, known)}"


def _suggestions(unknown: Collection[str], known: Collection[str]) -> str:
    by_spelling = {_spelling(name): name for name in known}
    found = [
        f"{by_spelling[match]} for {key!r}"
        for key in unknown
        for match in get_close_matches(_spelling(key), list(by_spelling), n=1)
    ]
    return f". Did you mean {', '.join(found)}?" if found else ""


def _spelling(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
