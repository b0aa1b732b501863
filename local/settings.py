"""The embedded stack's settings: the environment and .env, read once, checked, and kept in one frozen object.

The real environment wins over .env, or the file that MAXY_ENV_FILE names instead. Passwords and keys that nobody gave
are generated once per checkout and kept in ``MAXY_LOCAL_DIR/credentials.json``, readable by its owner alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from local.families import FAMILIES
from local.lock import locked_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOPBACK = "127.0.0.1"
ADMIN_USER = "admin"
# May look at everything and change nothing; the pages are for such users too.
VIEWER_USER = "viewer"

POSTGRES_SUPERUSER = "airflow"
# The package's own role, and its database.
POSTGRES_ROLE = "maxy"
POSTGRES_DATABASE = "maxy"
POSTGRES_SOCKET_NAME = ".s.PGSQL.5432"

# The kernel allows 107 bytes for a socket's path on Linux and 103 on macOS, the file's own name included.
_LONGEST_SOCKET_PATH = 99
_LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost"})
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_METRICS_OPTION = re.compile(r"AIRFLOW__METRICS__[A-Z0-9_]+")
_MIGRATION_OPTION = re.compile(r"MAXY_(\w+_TTL_DAYS|SOURCE_TABLES)")
_UNQUOTED_COMMENT = re.compile(r"\s#.*$")


class SettingsError(ValueError):
    """A setting is missing or has a value the stack cannot work with; the text names the setting."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the stack lives, listens and who may enter.

    :param root: the checkout.
    :param local_dir: data, logs, pid files and credentials of this stack.
    :param timezone: the statistics time zone (IANA name): a day begins at midnight there.
    :param valkey_prefix: first part of every key the package writes.
    :param families: names of the families that the stack runs.
    :param statistics: settings of the family of statistics, a JSON object as text.
    :param realtime: settings of the live loops, a JSON object as text.
    :param postgres_password: of PostgreSQL's superuser, who owns Airflow's metadata.
    :param maxy_postgres_password: of the role that owns the package's own database.
    :param fernet_key: encrypts connections in Airflow's metadata database.
    :param jwt_secret: signs the tokens of Airflow's API.
    :param migration_options: what else was set for the migrations: MAXY_*_TTL_DAYS, MAXY_SOURCE_TABLES.
    :param metrics: what was set for Airflow's metrics: AIRFLOW__METRICS__*, the only variables of Airflow's that are
        passed on to its parts.
    :param given: the credentials that came from the environment or .env, as opposed to generated ones.
    """

    root: Path
    local_dir: Path
    clickhouse_port: int
    clickhouse_native_port: int
    clickhouse_user: str
    clickhouse_database: str
    valkey_port: int
    valkey_db: int
    valkey_prefix: str
    airflow_port: int
    timezone: str
    clickhouse_password: str = field(repr=False)
    valkey_password: str = field(repr=False)
    airflow_admin_password: str = field(repr=False)
    airflow_viewer_password: str = field(repr=False)
    postgres_password: str = field(repr=False)
    maxy_postgres_password: str = field(repr=False)
    fernet_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    given: frozenset[str] = frozenset()
    migration_options: tuple[tuple[str, str], ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()
    families: tuple[str, ...] = tuple(FAMILIES)
    statistics: str = "{}"
    realtime: str = "{}"
    metric_ranges: str = "{}"
    max_name_length: int = 300
    host: str = LOOPBACK

    @property
    def airflow_url(self) -> str:
        return f"http://{self.host}:{self.airflow_port}"

    @property
    def clickhouse_url(self) -> str:
        return f"http://{self.host}:{self.clickhouse_port}"

    @property
    def credentials_file(self) -> Path:
        return self.local_dir / "credentials.json"

    @property
    def credentials_lock(self) -> Path:
        return _lock_of(self.credentials_file)

    @property
    def postgres_socket_directory(self) -> Path:
        """A folder only the server's user may enter, with a path short enough however deep the checkout is."""
        data = self.local_dir / "postgres"
        inside = data / "socket"
        if len(os.fsencode(inside / POSTGRES_SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
            return inside
        mark = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
        return Path("/tmp") / f"maxy-postgres-{mark}"

    def migration_environment(self) -> dict[str, str]:
        """The variables that scripts/migrate.py reads."""
        administrator = {
            "POSTGRES_ADMIN_USER": POSTGRES_SUPERUSER,
            "POSTGRES_ADMIN_PASSWORD": self.postgres_password,
        }
        return self.service_environment() | administrator | dict(self.migration_options)

    def service_environment(self) -> dict[str, str]:
        """The variables by which the package finds its servers, the same ones that users set."""
        return {
            "CLICKHOUSE_HOST": self.host,
            "CLICKHOUSE_PORT": str(self.clickhouse_port),
            "CLICKHOUSE_NATIVE_PORT": str(self.clickhouse_native_port),
            "CLICKHOUSE_USER": self.clickhouse_user,
            "CLICKHOUSE_PASSWORD": self.clickhouse_password,
            "CLICKHOUSE_DB": self.clickhouse_database,
            "VALKEY_HOST": self.host,
            "VALKEY_PORT": str(self.valkey_port),
            "VALKEY_PASSWORD": self.valkey_password,
            "VALKEY_DB": str(self.valkey_db),
            "VALKEY_PREFIX": self.valkey_prefix,
            "POSTGRES_HOST": str(self.postgres_socket_directory),
            "POSTGRES_PORT": "5432",
            "POSTGRES_USER": POSTGRES_ROLE,
            "POSTGRES_PASSWORD": self.maxy_postgres_password,
            "POSTGRES_DB": POSTGRES_DATABASE,
            "MAXY_TIMEZONE": self.timezone,
            "MAXY_LOCAL_DIR": str(self.local_dir),
        }


def read_settings(root: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings; generates and stores the credentials that are missing.

    :param root: the checkout; its .env is read, and a relative MAXY_LOCAL_DIR or MAXY_ENV_FILE starts there.
    :param environment: instead of this process's environment.
    :raises SettingsError: a value is malformed; the text names the variable.
    """
    root = root.resolve()
    given = {key: value for key, value in (os.environ if environment is None else environment).items() if value}
    values = read_env_file(_env_file(root, given.get("MAXY_ENV_FILE"))) | given
    for name in ("CLICKHOUSE_HOST", "VALKEY_HOST"):
        if values.get(name, LOOPBACK) not in _LOOPBACK_NAMES:
            raise SettingsError(
                f"{name}={values[name]}: the embedded stack listens on {LOOPBACK} only. Unset {name} to use the"
                " embedded stack, or point a deployment of your own at that host (see the README)."
            )
    ports = {
        name: _port(values, name, default)
        for name, default in (
            ("CLICKHOUSE_PORT", 8123),
            ("CLICKHOUSE_NATIVE_PORT", 9000),
            ("VALKEY_PORT", 6379),
            ("AIRFLOW_PORT", 8080),
        )
    }
    _refuse_shared_ports(ports)
    user = _matching(values, "CLICKHOUSE_USER", "maxy", _IDENTIFIER, "letters, digits and underscores")
    database = _matching(values, "CLICKHOUSE_DB", "maxy", _IDENTIFIER, "letters, digits and underscores")
    valkey_db = _number(values, "VALKEY_DB", 0, range(16))
    prefix = values.get("VALKEY_PREFIX", "stats:realtime")
    if prefix != prefix.strip() or not prefix.isprintable():
        raise SettingsError(f"VALKEY_PREFIX={prefix!r}: no blanks around it and no control characters in it.")
    timezone = _timezone(values)
    statistics = _json_object(values, "MAXY_STATISTICS")
    realtime = _json_object(values, "MAXY_REALTIME")
    metric_ranges = _json_object(values, "MAXY_METRIC_RANGES")
    max_name_length = _number(values, "MAXY_MAX_NAME_LENGTH", 300, range(1, 10_001))

    local_dir = (root / Path(values.get("MAXY_LOCAL_DIR", ".local")).expanduser()).resolve()
    if local_dir == root or local_dir in root.parents:
        # `make clean` removes the folder, so it must never hold the checkout itself.
        raise SettingsError(f"MAXY_LOCAL_DIR={local_dir}: must not be the checkout or a folder above it.")
    credentials = _Credentials(local_dir / "credentials.json", values)
    return Settings(
        root=root,
        local_dir=local_dir,
        clickhouse_port=ports["CLICKHOUSE_PORT"],
        clickhouse_native_port=ports["CLICKHOUSE_NATIVE_PORT"],
        clickhouse_user=user,
        clickhouse_database=database,
        valkey_port=ports["VALKEY_PORT"],
        valkey_db=valkey_db,
        valkey_prefix=prefix,
        airflow_port=ports["AIRFLOW_PORT"],
        timezone=timezone,
        families=_families(values),
        statistics=statistics,
        realtime=realtime,
        metric_ranges=metric_ranges,
        max_name_length=max_name_length,
        given=credentials.given,
        migration_options=_chosen(values, _MIGRATION_OPTION),
        metrics=_chosen(values, _METRICS_OPTION),
        **credentials.all(),
    )


def _families(values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the families that FAMILIES names, in the order of the list; all where it is not set."""
    if not (text := values.get("FAMILIES", "").strip()):
        return tuple(FAMILIES)
    chosen = [name.strip() for name in text.split(",")]
    if unknown := [name for name in chosen if name not in FAMILIES]:
        raise SettingsError(f"FAMILIES={text}: there is no family {unknown[0]!r}; there are {', '.join(FAMILIES)}.")
    return tuple(name for name in FAMILIES if name in chosen)


def read_env_file(path: Path) -> dict[str, str]:
    """Read ``NAME=value`` lines; a missing file is an empty one, and ``NAME=`` means not set.

    Understands comments, ``export NAME=value`` and single or double quotes around a whole value.
    :raises SettingsError: a line that is none of these, with its number.
    """
    if not path.exists():
        return {}
    values: dict[str, str] = {}
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not _KEY.fullmatch(name):
            raise SettingsError(f"{path}, line {number}: expected NAME=value.")
        if value[:1] in ("'", '"'):
            value, closed, rest = value[1:].partition(value[0])
            if not closed or (rest.strip() and not rest.lstrip().startswith("#")):
                raise SettingsError(
                    f"{path}, line {number}: the quoted value of {name} does not end where the line does."
                )
        else:
            value = _UNQUOTED_COMMENT.sub("", " " + value).strip()
        if value:
            values[name] = value
    return values


def _env_file(root: Path, named: str | None) -> Path:
    path = root / (named or ".env")
    if named and not path.exists():
        raise SettingsError(f"MAXY_ENV_FILE={named}: there is no such file.")
    return path


class _Credentials:
    """Given ones from the environment, the rest from the file, generated into it when it has none yet."""

    _GENERATORS: Mapping[str, tuple[str, Callable[[], str]]] = {
        "clickhouse_password": ("CLICKHOUSE_PASSWORD", lambda: secrets.token_urlsafe(18)),
        "valkey_password": ("VALKEY_PASSWORD", lambda: secrets.token_urlsafe(18)),
        "airflow_admin_password": ("AIRFLOW_ADMIN_PASSWORD", lambda: secrets.token_urlsafe(12)),
        "airflow_viewer_password": ("", lambda: secrets.token_urlsafe(12)),
        "postgres_password": ("", lambda: secrets.token_urlsafe(18)),
        "maxy_postgres_password": ("", lambda: secrets.token_urlsafe(18)),
        "fernet_key": ("", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()),
        "jwt_secret": ("", lambda: secrets.token_urlsafe(48)),
    }

    def __init__(self, path: Path, values: Mapping[str, str]) -> None:
        self._path = path
        self._given = {key: values[variable] for key, (variable, _) in self._GENERATORS.items() if values.get(variable)}
        for key, value in self._given.items():
            # What HTTP's headers and Valkey's configuration take as it is.
            if not value.isascii() or not value.isprintable() or any(character in value for character in '"\\ '):
                variable = self._GENERATORS[key][0]
                raise SettingsError(f"{variable}: printable ASCII only, and no blanks, double quotes or backslashes.")
        self.given = frozenset(self._given)

    def all(self) -> dict[str, str]:
        stored = self._stored()
        if self._missing(stored):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Two first commands at once must not each keep a password of their own.
            with locked_file(_lock_of(self._path)):
                stored = self._stored()
                stored |= {key: self._GENERATORS[key][1]() for key in self._missing(stored)}
                self._write(stored)
        return {key: self._given.get(key) or stored[key] for key in self._GENERATORS}

    def _missing(self, stored: Mapping[str, str]) -> list[str]:
        return [key for key in self._GENERATORS if key not in stored and key not in self._given]

    def _stored(self) -> dict[str, str]:
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise SettingsError(f"{self._path}: not valid JSON ({error}). Mend it or remove it.") from None
        if not isinstance(stored, dict) or not all(isinstance(value, str) and value for value in stored.values()):
            raise SettingsError(f"{self._path}: expected one JSON object of names and texts. Mend it or remove it.")
        return stored

    def _write(self, stored: Mapping[str, str]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(stored, file, indent=2)
        temporary.replace(self._path)


def _lock_of(credentials_file: Path) -> Path:
    return credentials_file.with_suffix(".lock")


def _number(values: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    text = values.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) not in allowed:
        raise SettingsError(f"{name}={text}: expected a whole number from {allowed[0]} to {allowed[-1]}.")
    return int(text)


def _port(values: Mapping[str, str], name: str, default: int) -> int:
    return _number(values, name, default, range(1, 65536))


def _refuse_shared_ports(ports: Mapping[str, int]) -> None:
    names: dict[int, str] = {}
    for name, port in ports.items():
        if port in names:
            raise SettingsError(f"{names[port]} and {name} are both {port}: every service needs a port of its own.")
        names[port] = name


def _chosen(values: Mapping[str, str], names: re.Pattern[str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in values.items() if names.fullmatch(name)))


def _matching(values: Mapping[str, str], name: str, default: str, pattern: re.Pattern[str], expected: str) -> str:
    text = values.get(name, default)
    if not pattern.fullmatch(text):
        raise SettingsError(f"{name}={text!r}: expected {expected}.")
    return text


def _timezone(values: Mapping[str, str]) -> str:
    name = values.get("MAXY_TIMEZONE", "UTC")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(f"MAXY_TIMEZONE={name}: not an IANA time zone (such as UTC or Asia/Seoul).") from None
    return name


def _json_object(values: Mapping[str, str], name: str) -> str:
    text = values.get(name, "{}")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{name}={text}: not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise SettingsError(f'{name}={text}: expected a JSON object, such as {{"name": "value"}}.')
    return text
