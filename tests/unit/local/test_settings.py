from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from local.families import FAMILIES
from local.settings import SettingsError, read_env_file, read_settings

if TYPE_CHECKING:
    from pathlib import Path


def test_defaults_are_those_users_of_the_system_know(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {})

    assert settings.service_environment() == {
        "CLICKHOUSE_HOST": "127.0.0.1",
        "CLICKHOUSE_PORT": "8123",
        "CLICKHOUSE_NATIVE_PORT": "9000",
        "CLICKHOUSE_USER": "maxy",
        "CLICKHOUSE_PASSWORD": settings.clickhouse_password,
        "CLICKHOUSE_DB": "maxy",
        "VALKEY_HOST": "127.0.0.1",
        "VALKEY_PORT": "6379",
        "VALKEY_PASSWORD": settings.valkey_password,
        "VALKEY_DB": "0",
        "VALKEY_PREFIX": "stats:realtime",
        "POSTGRES_HOST": str(settings.postgres_socket_directory),
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": "maxy",
        "POSTGRES_PASSWORD": settings.maxy_postgres_password,
        "POSTGRES_DB": "maxy",
        "MAXY_TIMEZONE": "UTC",
        "MAXY_LOCAL_DIR": str(tmp_path / ".local"),
    }
    assert settings.airflow_url == "http://127.0.0.1:8080"


def test_the_environment_wins_over_the_env_file_and_both_over_defaults(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VALKEY_PORT=7001\nAIRFLOW_PORT=7002\nCLICKHOUSE_PASSWORD=from-file\n")

    settings = read_settings(tmp_path, {"VALKEY_PORT": "7003", "AIRFLOW_PORT": ""})

    assert settings.valkey_port == 7003
    assert settings.airflow_port == 7002, "an empty variable is one that is not set"
    assert settings.clickhouse_password == "from-file"
    assert settings.given == {"clickhouse_password"}


def test_another_file_may_stand_for_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VALKEY_PORT=7001\n")
    (tmp_path / "second.env").write_text("AIRFLOW_PORT=7002\n")

    settings = read_settings(tmp_path, {"MAXY_ENV_FILE": "second.env"})
    assert (settings.valkey_port, settings.airflow_port) == (6379, 7002)
    assert read_settings(tmp_path, {"MAXY_ENV_FILE": "/dev/null"}).valkey_port == 6379


def test_generated_credentials_differ_stay_and_are_the_owners_alone(tmp_path: Path) -> None:
    first = read_settings(tmp_path, {})
    second = read_settings(tmp_path, {})
    other = read_settings(tmp_path, {"MAXY_LOCAL_DIR": "elsewhere"})

    secrets = [first.clickhouse_password, first.valkey_password, first.airflow_admin_password, first.fernet_key]
    assert len(set(secrets)) == len(secrets)
    assert min(map(len, secrets)) >= 16
    assert second == first
    assert other.clickhouse_password != first.clickhouse_password
    assert stat.S_IMODE(first.credentials_file.stat().st_mode) == 0o600


def test_a_given_password_is_not_stored_and_replaces_the_generated_one(tmp_path: Path) -> None:
    generated = read_settings(tmp_path, {})
    given = read_settings(tmp_path, {"VALKEY_PASSWORD": "chosen-by-someone"})

    assert given.valkey_password == "chosen-by-someone"
    assert "chosen-by-someone" not in given.credentials_file.read_text()
    assert read_settings(tmp_path, {}) == generated


def test_commands_that_start_at_once_agree_on_the_credentials(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        settings = list(pool.map(lambda _: read_settings(tmp_path, {}), range(8)))

    assert len({one.valkey_password for one in settings}) == 1


def test_no_secret_is_shown_when_the_settings_are_printed(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {"CLICKHOUSE_PASSWORD": "given-secret"})

    shown = repr(settings)
    stored = json.loads(settings.credentials_file.read_text())
    assert "given-secret" not in shown
    assert not [value for value in stored.values() if value in shown]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("CLICKHOUSE_PORT", "http", "from 1 to 65535"),
        ("CLICKHOUSE_NATIVE_PORT", "0", "from 1 to 65535"),
        ("VALKEY_PORT", "65536", "from 1 to 65535"),
        ("AIRFLOW_PORT", "-1", "from 1 to 65535"),
        ("VALKEY_DB", "16", "from 0 to 15"),
        ("CLICKHOUSE_USER", "a b", "letters, digits"),
        ("CLICKHOUSE_DB", "x;DROP", "letters, digits"),
        ("CLICKHOUSE_HOST", "ch.example.com", "127.0.0.1 only"),
        ("VALKEY_HOST", "10.0.0.1", "127.0.0.1 only"),
        ("MAXY_TIMEZONE", "Asia/Soul", "not an IANA time zone"),
        ("MAXY_TIMEZONE", "../etc/passwd", "not an IANA time zone"),
        ("VALKEY_PREFIX", "a\nb", "control characters"),
        ("VALKEY_PASSWORD", 'quo"te', "double quotes"),
        ("CLICKHOUSE_PASSWORD", "비밀번호", "ASCII only"),
        ("MAXY_LOCAL_DIR", ".", "must not be the checkout"),
        ("MAXY_LOCAL_DIR", "..", "must not be the checkout"),
        ("MAXY_ENV_FILE", "missing.env", "no such file"),
        ("MAXY_REALTIME", "{loops: 1}", "not valid JSON"),
        ("MAXY_REALTIME", "[1]", "expected a JSON object"),
        ("MAXY_REALTIME", "null", "expected a JSON object"),
        ("MAXY_METRIC_RANGES", "[0, 1]", "expected a JSON object"),
        ("MAXY_MAX_NAME_LENGTH", "0", "from 1 to 10000"),
    ],
)
def test_a_bad_value_is_refused_by_name(tmp_path: Path, variable: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        read_settings(tmp_path, {variable: value})

    assert variable in str(raised.value)


def test_the_migrations_get_the_settings_they_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAXY_PAGE_FLOW_TTL_DAYS=400\n")

    environment = read_settings(tmp_path, {"MAXY_TIMEZONE": "Asia/Seoul"}).migration_environment()

    assert environment["MAXY_PAGE_FLOW_TTL_DAYS"] == "400"
    assert environment["MAXY_TIMEZONE"] == "Asia/Seoul"


def test_the_servers_superuser_is_for_the_migrations_alone(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {"POSTGRES_HOST": "theirs", "POSTGRES_PASSWORD": "of another server"})

    assert settings.migration_environment()["POSTGRES_ADMIN_PASSWORD"] == settings.postgres_password
    assert settings.postgres_password not in settings.service_environment().values()
    # The embedded server has no address that one could choose.
    assert "theirs" not in settings.migration_environment().values()
    assert "of another server" not in settings.migration_environment().values()


def test_the_live_loops_settings_are_a_json_object(tmp_path: Path) -> None:
    assert read_settings(tmp_path, {}).realtime == "{}"
    (tmp_path / ".env").write_text("""MAXY_REALTIME='{"enabled": ["device"]}' # only one\n""")
    assert json.loads(read_settings(tmp_path, {}).realtime) == {"enabled": ["device"]}


def test_two_services_on_one_port_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CLICKHOUSE_PORT and AIRFLOW_PORT are both 8080"):
        read_settings(tmp_path, {"CLICKHOUSE_PORT": "8080"})


def test_env_file_understands_comments_quotes_and_export(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# a comment\n\nPLAIN=value # and another\nexport EXPORTED=yes\nQUOTED='with # and spaces' # here\n"
        'DOUBLE="a=b"\nHASH=a#b\nEMPTY=\nONLY_COMMENT= # nothing\n'
    )

    assert read_env_file(file) == {
        "PLAIN": "value",
        "EXPORTED": "yes",
        "QUOTED": "with # and spaces",
        "DOUBLE": "a=b",
        "HASH": "a#b",
    }


@pytest.mark.parametrize("line", ["JUST_A_NAME", "1BAD=x", "A B=x", "OPEN='never closed", "Q='x' y"])
def test_a_broken_line_of_the_env_file_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"GOOD=1\n{line}\n")

    with pytest.raises(SettingsError, match=r"\.env, line 2"):
        read_env_file(file)


def test_a_password_that_a_former_release_did_not_have_is_added_to_the_others(tmp_path: Path) -> None:
    before = read_settings(tmp_path, {})
    file = before.credentials_file
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in stored.items() if name != "maxy_postgres_password"}))

    after = read_settings(tmp_path, {})

    assert after.maxy_postgres_password not in ("", before.maxy_postgres_password)
    assert json.loads(file.read_text()) == stored | {"maxy_postgres_password": after.maxy_postgres_password}


@pytest.mark.parametrize("text", ["{", "[]", '{"fernet_key": 1}', '{"fernet_key": ""}'])
def test_damaged_credentials_are_refused_not_replaced(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".local" / "credentials.json"
    file.parent.mkdir()
    file.write_text(text)

    with pytest.raises(SettingsError, match=r"credentials\.json"):
        read_settings(tmp_path, {})
    assert file.read_text() == text


def test_all_families_run_unless_some_are_named(tmp_path: Path) -> None:
    assert read_settings(tmp_path, {}).families == tuple(FAMILIES)
    assert read_settings(tmp_path, {"FAMILIES": " statistics , statistics"}).families == ("statistics",)


def test_a_family_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FAMILIES=statistic: there is no family 'statistic'; there are"):
        read_settings(tmp_path, {"FAMILIES": "statistic"})
