"""Load DAG files as Airflow's DAG processor does, and look at what they are and what they do meanwhile."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow.sdk import DAG

#: Airflow's own, of whoever has not thought of one.
_DEFAULT_OWNER = "airflow"

# Audit events of Python by what they mean.
_ACTIONS = {
    "socket.connect": "opens a network connection",
    "socket.getaddrinfo": "asks the name service",
    "socket.gethostbyname": "asks the name service",
    "urllib.Request": "opens a network connection",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.exec": "starts a process",
    "os.posix_spawn": "starts a process",
    "sqlite3.connect": "opens a database",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def load_dags(path: str | Path) -> dict[str, DAG]:
    """Load a DAG file, or a folder of them, and return the DAGs by id.

    :raises AssertionError: with each file that cannot be imported and why; where there is no DAG; and where a file does
        at import what a task should do: opens connections, starts processes, writes files. What would reach another
        machine or process is not done.
    """
    path = Path(path).resolve()
    if not path.exists():
        raise AssertionError(f"{path}: there is no such file or folder")
    with _watched(path) as seen:
        bag = DagBag(dag_folder=str(path))
    problems = [f"{file}: {str(error).strip()}" for file, error in sorted(bag.import_errors.items())]
    # One that was refused is in the import error already, unless the file has caught it.
    problems += [action for action in dict.fromkeys(seen) if not any(action in problem for problem in problems)]
    if not problems and not bag.dags:
        problems.append(f"{path}: there is no DAG in it")
    if problems:
        raise AssertionError("\n".join(problems))
    return dict(bag.dags)


def dag_problems(
    dag: DAG, *, owner: str | None = None, tags: Collection[str] = (), least_retries: int = 1
) -> list[str]:
    """Return what is wrong with a DAG, a sentence each.

    :param owner: whom every task must belong to; unless given, anybody but Airflow's default owner.
    :param tags: that it must have; at least one in any case.
    :param least_retries: that every task must have.
    """
    problems = []
    if not dag.tags:
        problems.append(f"{dag.dag_id} has no tag")
    problems += [f"{dag.dag_id} lacks the tag {tag}" for tag in sorted(set(tags) - set(dag.tags))]
    if not (dag.description or dag.doc_md):
        problems.append(f"{dag.dag_id} has neither a description nor doc_md")
    for task in dag.tasks:
        name = f"task {task.task_id} of {dag.dag_id}"
        if owner is not None and task.owner != owner:
            problems.append(f"{name} belongs to {task.owner}, not to {owner}")
        elif owner is None and task.owner == _DEFAULT_OWNER:
            problems.append(f"{name} has no owner")
        if (task.retries or 0) < least_retries:
            problems.append(f"{name} has {task.retries or 0} retries, and should have {least_retries} at the least")
    try:
        DagSerialization.from_dict(DagSerialization.to_dict(dag))
    except Exception as error:
        problems.append(f"{dag.dag_id} cannot be stored in Airflow's database: {type(error).__name__}: {error}")
    return problems


def check_dags(
    path: str | Path, *, owner: str | None = None, tags: Collection[str] = (), least_retries: int = 1
) -> dict[str, DAG]:
    """Load DAG files, and have nothing wrong with any DAG in them; return the DAGs by id.

    :raises AssertionError: with everything that :func:`load_dags` or :func:`dag_problems` finds.
    """
    dags = load_dags(path)
    problems = [
        problem
        for _, dag in sorted(dags.items())
        for problem in dag_problems(dag, owner=owner, tags=tags, least_retries=least_retries)
    ]
    if problems:
        raise AssertionError("\n".join(problems))
    return dags


class _Watch:
    """Notes and refuses what code of some files does, while it is switched on. Audit hooks cannot be removed."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.path is None:
            return
        action = _ACTIONS.get(event) or (_opening(*arguments) if event == "open" else None)
        place = action and self._place()
        if place:
            self.seen.append(f"{place} {action} while the DAG is parsed")
            raise RuntimeError(self.seen[-1])

    def _place(self) -> str | None:
        """Return where in the watched files the running code was called; None if it is none of theirs."""
        frame = sys._getframe(2)
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            # Python's own compiled modules are nobody's concern.
            return None
        while frame is not None:
            file = frame.f_code.co_filename
            if file == str(self.path) or file.startswith(f"{self.path}{os.sep}"):
                return f"{file}:{frame.f_lineno}:"
            frame = frame.f_back  # type: ignore[assignment]
        return None


_watch: _Watch | None = None


def _opening(path: Any, mode: Any, flags: Any) -> str | None:
    """Say that a file is opened to be written."""
    is_write = bool(isinstance(flags, int) and flags & _WRITES)
    return "writes a file" if is_write and path != os.devnull else None


@contextmanager
def _watched(path: Path) -> Iterator[list[str]]:
    global _watch
    _watch = _watch or _Watch()
    _watch.path, _watch.seen = path, []
    try:
        yield _watch.seen
    finally:
        _watch.path = None
