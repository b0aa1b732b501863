"""A part that removes Airflow's old task logs and old metadata once a day; nothing of Airflow's own does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from local.processes import Command, DetachedProcess
from local.services.part import NotReady, Part

if TYPE_CHECKING:
    from local.services.airflow import AirflowDeployment
    from local.settings import Settings

_HOURS = 24
# After the first `up` there is nothing to remove, and the others are busy enough.
_FIRST_AFTER_MINUTES = 60


class AirflowCleanup(Part):
    """Sleeps between two rounds, which are processes of their own, so that it stays small."""

    def __init__(self, settings: Settings, deployment: AirflowDeployment) -> None:
        self._settings = settings
        self._deployment = deployment
        process = DetachedProcess(
            "airflow-cleanup",
            run_dir=settings.local_dir / "run",
            log=settings.local_dir / "logs" / "airflow-cleanup.log",
        )
        super().__init__(process, {})

    def command(self) -> Command:
        return Command(
            argv=[
                *(sys.executable, self._settings.root / "scripts" / "clean_airflow.py"),
                *("--every", str(_HOURS), "--delay", str(_FIRST_AFTER_MINUTES)),
                *("--state", self._deployment.home / "cleaned"),
            ],
            environment=self._deployment.environment(),
            directory=self._settings.root,
        )

    def check(self) -> None:
        """It serves nobody: that it runs is all.

        :raises NotReady: it does not.
        """
        if self.process.running() is None:
            raise NotReady("it does not run")
