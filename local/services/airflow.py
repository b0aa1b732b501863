"""Airflow as four processes: api-server, scheduler (with LocalExecutor), dag-processor and triggerer.

`airflow standalone` would leave its children behind when it is told to stop, so each is started by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime
from http.client import HTTPException
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import psycopg2

from local.processes import Command, DetachedProcess, ProcessError
from local.services.airflow_configuration import check_configuration_file, quiet_airflows_own_warnings
from local.services.part import NotReady, Part, clean_environment
from local.services.postgres import DATABASE
from local.settings import ADMIN_USER, VIEWER_USER
from scripts.apply_airflow_settings import SettingsFileError, read_airflow_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from local.services.postgres import Postgres
    from local.settings import Settings

PARALLELISM = 4

# No proxy between this machine and itself.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AirflowDeployment:
    """What the four processes share: environment, metadata database, login."""

    def __init__(self, settings: Settings, postgres: Postgres) -> None:
        self._settings = settings
        self._postgres = postgres
        self.home = settings.local_dir / "airflow"
        self._stamp = self.home / "migrated.json"

    def environment(self, *, database: str = DATABASE, log_folder: Path | None = None) -> dict[str, str]:
        """The whole environment of a process of this Airflow.

        :param database: another one than the stack's metadata, on the same server.
        :param log_folder: of task logs, in the place of the stack's own.
        """
        settings = self._settings
        logs = log_folder or self.home / "logs"
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_VAR_MAXY_TIMEZONE": settings.timezone,
            "AIRFLOW_VAR_MAXY_STATISTICS": settings.statistics,
            "AIRFLOW_VAR_MAXY_REALTIME": settings.realtime,
            "AIRFLOW_VAR_MAXY_METRIC_RANGES": settings.metric_ranges,
            "AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH": str(settings.max_name_length),
            "CORE__DAGS_FOLDER": str(settings.root / "dags"),
            "CORE__PLUGINS_FOLDER": str(settings.root / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": str(PARALLELISM),
            "CORE__FERNET_KEY": settings.fernet_key,
            "CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN_USER}:admin,{VIEWER_USER}:viewer",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords_file),
            # The default asks the name service, which can take seconds on a laptop.
            "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "DATABASE__SQL_ALCHEMY_CONN": self._postgres.sqlalchemy_url(database),
            "API__HOST": settings.host,
            "API__PORT": str(settings.airflow_port),
            "API__BASE_URL": settings.airflow_url,
            "API__WORKERS": "1",
            "API__SECRET_KEY": settings.jwt_secret,
            "API_AUTH__JWT_SECRET": settings.jwt_secret,
            "LOGGING__BASE_LOG_FOLDER": str(logs),
            "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs / "dag_processor"),
            "LOGGING__COLORED_CONSOLE_LOG": "False",
            # A new or changed DAG file shows within seconds.
            "DAG_PROCESSOR__REFRESH_INTERVAL": "15",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
            # Few DAGs and one user: look for work more often, so that short tasks do not wait for each other.
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            # A live loop stands still until a killed triggerer is missed: half a minute by default.
            "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        }
        prefixed = {name if name.startswith("AIRFLOW") else f"AIRFLOW__{name}": value for name, value in own.items()}
        return {
            **clean_environment(),
            **settings.service_environment(),
            **dict(settings.metrics),
            **prefixed,
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": quiet_airflows_own_warnings(os.environ.get("PYTHONWARNINGS", "")),
        }

    def check_configuration(self) -> None:
        """:raises ProcessError: Airflow could not read its configuration file, and would end with a traceback."""
        check_configuration_file(self.home / "airflow.cfg")

    def write_login(self) -> None:
        """SimpleAuthManager reads its users' passwords from a file; without one it would make up its own."""
        self.home.mkdir(parents=True, exist_ok=True)
        temporary = self._passwords_file.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            passwords = {
                ADMIN_USER: self._settings.airflow_admin_password,
                VIEWER_USER: self._settings.airflow_viewer_password,
            }
            json.dump(passwords, file)
        temporary.replace(self._passwords_file)

    def is_migrated(self) -> bool:
        """Whether the database is where this Airflow's last migration left it; asked without Airflow's 4 s start."""
        try:
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return False
        return bool(stamp == self._version())

    def migrate(self) -> None:
        """:raises ProcessError: with the end of what Airflow printed."""
        self.migrate_database(DATABASE)
        self._stamp.write_text(self.stamp(), encoding="utf-8")

    def migrate_database(self, database: str) -> None:
        """:raises ProcessError: with the end of what Airflow printed."""
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        self.run(command, log_name="airflow-db-migrate", database=database)

    def stamp(self) -> str:
        """Names the version of Airflow and of its tables, for what is kept for that version."""
        return json.dumps(self._version())

    def has_settings(self) -> bool:
        """Whether every connection, pool and variable of the file exists; asked in 5 ms instead of Airflow's 4 s."""
        try:
            wanted = read_airflow_settings(self._settings.root / "airflow_settings.yaml")
        except SettingsFileError as error:
            raise ProcessError(str(error)) from None
        with self._postgres.connection() as connection, connection.cursor() as cursor:
            return all(
                names <= _column(cursor, query)
                for names, query in (
                    ({entry.conn_id for entry in wanted.connections}, "SELECT conn_id FROM connection"),
                    ({entry.name for entry in wanted.pools}, "SELECT pool FROM slot_pool"),
                    ({entry.key for entry in wanted.variables}, "SELECT key FROM variable"),
                )
            )

    def apply_settings(self) -> None:
        """Write airflow_settings.yaml's connections, pools and variables into the metadata; existing ones are kept."""
        script = self._settings.root / "scripts" / "apply_airflow_settings.py"
        self.run([sys.executable, script], log_name="airflow-settings")

    def run(self, argv: Sequence[str | Path], *, log_name: str, database: str = DATABASE) -> None:
        """Run one command in Airflow's environment, its output into a log.

        :param database: as for environment().
        :raises ProcessError: it failed; with the end of its output.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        log = self._settings.local_dir / "logs" / f"{log_name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as output:
            status = subprocess.run(
                [os.fspath(part) for part in argv],
                env=self.environment(database=database),
                cwd=self._settings.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        if status:
            tail = "\n    ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise ProcessError(f"{log_name} ended with status {status}. Its log {log} ends with:\n    {tail}")

    def health(self) -> Mapping[str, Any]:
        """What the api-server knows about all parts.

        :raises NotReady: it does not answer, or not with that.
        """
        url = f"{self._settings.airflow_url}/api/v2/monitor/health"
        try:
            with _OPENER.open(url, timeout=5) as response:
                health = json.load(response)
        except urllib.error.HTTPError as error:
            raise NotReady(f"{url}: {error.code} {error.read().decode(errors='replace')}") from error
        except (OSError, HTTPException) as error:
            raise NotReady(f"{url} cannot be reached: {error}") from error
        except ValueError as error:
            raise NotReady(f"{url} did not answer with JSON") from error
        if not isinstance(health, dict):
            raise NotReady(f"{url} answered with JSON of another kind")
        return health

    @property
    def _passwords_file(self) -> Path:
        return self.home / "passwords.json"

    def _version(self) -> dict[str, str | None]:
        return {"airflow": version("apache-airflow"), "revision": self._revision()}

    def _revision(self) -> str | None:
        try:
            with self._postgres.connection() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT version_num FROM alembic_version")
                row = cursor.fetchone()
        except psycopg2.Error:
            return None
        return str(row[0]) if row else None


def _column(cursor: psycopg2.extensions.cursor, query: str) -> set[str]:
    cursor.execute(query)
    return {str(value) for (value,) in cursor.fetchall()}


class AirflowProcess(Part):
    """One of the four.

    :param component: Airflow's own word for it, which is also its subcommand.
    """

    # Four interpreters import Airflow at the same time, on a busy laptop perhaps next to other work.
    start_timeout = 150.0
    poll_interval = 0.5

    def __init__(self, component: str, settings: Settings, deployment: AirflowDeployment) -> None:
        self._settings = settings
        self._deployment = deployment
        self._component = component
        #: Seconds since the epoch: an older sign of life counts for nothing.
        self.heartbeat_after = 0.0
        process = DetachedProcess(
            f"airflow-{component}",
            run_dir=settings.local_dir / "run",
            log=settings.local_dir / "logs" / f"airflow-{component}.log",
            stop_timeout=15.0,
            # The scheduler waits for its running tasks (the next one retries those that were cut off); the triggerer
            # takes 10 s over nothing. A second signal makes both end at once.
            insist_after=15.0 if component == "scheduler" else 3.0,
        )
        super().__init__(process, {"AIRFLOW_PORT": settings.airflow_port} if component == "api-server" else {})

    def command(self) -> Command:
        if self._component == "api-server":
            self._deployment.write_login()
        argv = [sys.executable, "-m", "airflow", self._component]
        if self._component in ("scheduler", "triggerer"):
            # Their log servers would listen on every interface, and the logs are on this machine anyway.
            argv.append("--skip-serve-logs")
        environment = self._deployment.environment()
        if self._component == "scheduler":
            environment["PYTHONPATH"] = str(self._settings.root / "local" / "preload")
        return Command(argv=argv, environment=environment, directory=self._deployment.home)

    def check(self) -> None:
        health = self._deployment.health()
        key = "metadatabase" if self._component == "api-server" else self._component.replace("-", "_")
        state = health.get(key) or {}
        if (status := state.get("status")) != "healthy":
            raise NotReady(f"Airflow says that its {key} is {status or 'unknown'}")
        if self._component == "api-server":
            return
        beat = state.get(f"latest_{key}_heartbeat")
        identity = self.process.identity()
        # For half a minute a killed predecessor's last heartbeat passes for health: only one of its own counts.
        last = max(identity.started_at(), self.heartbeat_after) if identity else None
        if not beat or last is None or datetime.fromisoformat(beat).timestamp() <= last:
            raise NotReady(f"no heartbeat since its start (the last one: {beat or 'none'})")


COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
