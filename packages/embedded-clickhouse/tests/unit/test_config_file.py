"""The configuration file of the embedded ClickHouse: what it may say, and the words for what it may not."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from embedded_clickhouse.config import EngineConfig
from embedded_clickhouse.config_file import ConfigError, explained, read_config
from embedded_clickhouse.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.toml"


def test_what_the_file_says_holds_and_the_rest_keeps_its_default(path: Path) -> None:
    path.write_text("[engine]\nquery_log = false\nmemory_ratio = 1\n[limits]\nqueue_seconds = 2\nidle_seconds = 0.5\n")
    assert read_config(path) == (
        EngineConfig(query_log=False, memory_ratio=1),
        Limits(queue_seconds=2, idle_seconds=0.5),
    )


@pytest.mark.parametrize("text", ["", "[engine]\n", "# nothing\n[limits]\n"])
def test_an_empty_file_changes_nothing(path: Path, text: str) -> None:
    path.write_text(text)
    assert read_config(path) == (EngineConfig(), Limits())


@pytest.mark.parametrize("settings", [EngineConfig, Limits])
def test_every_setting_may_stand_in_the_file_and_is_explained(path: Path, settings: Any) -> None:
    described = list(explained(settings))
    assert [line.split(" = ")[0] for line, _ in described] == [field.name for field in fields(settings)]
    assert all(meaning.endswith(".") for _, meaning in described)
    # The explanation shows each with its default, so it is a file that changes nothing.
    section = "engine" if settings is EngineConfig else "limits"
    path.write_text("\n".join([f"[{section}]", *(line for line, _ in described)]))
    assert read_config(path) == (EngineConfig(), Limits())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[engine", "this is no TOML: "),
        ("[motor]\n", "has the unknown name 'motor'; known are engine, limits"),
        ("engine = 1\n", "engine must be a section, [engine], not a value"),
        ("[engine]\nmemory = 1\n", "[engine] has the unknown name 'memory'; known are memory_ratio, "),
        ("[limits]\nmemory_ratio = 1\n", "[limits] has the unknown name 'memory_ratio'; known are "),
        ("[engine]\nmemory_ratio = '1'\n", "[engine] memory_ratio must be a number, not '1'"),
        ("[engine]\nquery_log = 1\n", "[engine] query_log must be true or false, not 1"),
        ("[engine]\nquery_log_days = true\n", "[engine] query_log_days must be a whole number, not True"),
        ("[limits]\nmax_connections = 1.5\n", "[limits] max_connections must be a whole number, not 1.5"),
        ("[limits]\nidle_seconds = inf\n", "[limits] idle_seconds must be a number, not inf"),
        ("[limits]\nidle_seconds = nan\n", "[limits] idle_seconds must be a number, not nan"),
        ("[limits]\nmax_connections = 0\n", "[limits] max_connections must be above 0, not 0"),
        ("[engine]\nmemory_ratio = 1.5\n", "[engine] memory_ratio must be above 0 and at most 1, not 1.5"),
        (
            "[engine]\nmax_statement_memory_bytes = -1\n",
            "[engine] max_statement_memory_bytes must not be negative, not -1",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_place(path: Path, text: str, words: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_text_in_another_encoding_is_refused(path: Path) -> None:
    path.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="this is no TOML"):
        read_config(path)


def test_backups_lie_in_the_data_folder_or_where_the_file_says(tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = tmp_path / "server.toml"
    file.write_text(f'[engine]\nbackups_path = "{tmp_path}/elsewhere"\n', encoding="utf-8")
    assert EngineConfig().folders(data).backups == data / "backups"
    assert read_config(file)[0].folders(data).backups == tmp_path / "elsewhere"
    for value, message in (("5", "must be a text, not 5"), ('" "', "must not be empty")):
        file.write_text(f"[engine]\nbackups_path = {value}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            read_config(file)
