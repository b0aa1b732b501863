"""What a server is started with: its folder, addresses, account and the engine's own settings."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from pathlib import Path


# Who a client is that does not say.
DEFAULT_USER = "default"


@dataclass(frozen=True)
class Credentials:
    """The one account of a server, shared by both protocols.

    :param user: its name.
    :param password: its password; kept out of ``repr``. Empty for an account without one.
    """

    user: str
    password: str = field(repr=False)

    @property
    def needs_password(self) -> bool:
        """Whether a client must know something to be let in."""
        return bool(self.password)

    def check(self, user: str, password: str) -> bool:
        """Whether both are right. Takes the same time wherever the first difference is."""
        user_matches = hmac.compare_digest(_bytes(user), _bytes(self.user))
        password_matches = hmac.compare_digest(_bytes(password), _bytes(self.password))
        return user_matches and password_matches


@dataclass(frozen=True)
class EngineFolders:
    """Folders in which statements may name files.

    :param data: the data folder; the folders of user files lie in it, as on a server.
    :param backups: where backups lie.
    """

    data: Path
    backups: Path

    @property
    def user_files(self) -> Path:
        """Where ``file()`` and its like read and write."""
        return self.data / "user_files"

    @property
    def user_scripts(self) -> Path:
        """Where ``executable()`` finds its programs."""
        return self.data / "user_scripts"

    @property
    def user_defined(self) -> Path:
        """Where the engine keeps the functions that were created, a file each; missing before the first."""
        return self.data / "user_defined"

    def make(self) -> None:
        """Make those that are missing."""
        for folder in (self.user_files, self.user_scripts, self.backups):
            folder.mkdir(parents=True, exist_ok=True)

    def elements(self) -> list[str]:
        """What the engine's configuration file says of them. Only backups and scripts are the engine's own doing."""
        files, scripts, backups = (escape(f"{path}/") for path in (self.user_files, self.user_scripts, self.backups))
        return [
            f"<user_files_path>{files}</user_files_path>",
            f"<format_schema_path>{files}</format_schema_path>",
            f"<user_scripts_path>{scripts}</user_scripts_path>",
            f"<tmp_path>{escape(str(self.data))}/tmp/</tmp_path>",
            f"<storage_configuration><disks><backups><type>local</type><path>{backups}</path></backups></disks>"
            "</storage_configuration>",
            f"<backups><allowed_path>{backups}</allowed_path><allowed_disk>backups</allowed_disk></backups>",
        ]


@dataclass(frozen=True)
class EngineConfig:
    """Settings of the engine that can only be given in its configuration file.

    :param memory_ratio: the share of the machine's memory all queries together may use (0 to 1).
    :param max_server_memory_bytes: the same as a number of bytes; wins over the ratio when it is not 0.
    :param max_statement_memory_bytes: what one statement may use (error 241 beyond it) unless it sets
        ``max_memory_usage`` itself; 0: no bound of its own.
    :param mark_cache_bytes: upper bound of the cache of index marks.
    :param query_log: whether every query is recorded in ``system.query_log``.
    :param query_log_days: days after which records of that log are dropped.
    :param backups_path: the folder in which BACKUP writes and RESTORE reads, and no other; one that is not absolute
        lies in the data folder, ``DIR/data``.
    """

    memory_ratio: float = 0.6
    max_server_memory_bytes: int = 0
    max_statement_memory_bytes: int = 0
    mark_cache_bytes: int = 256 * 1024 * 1024
    query_log: bool = True
    query_log_days: int = 3
    backups_path: str = "backups"

    def __post_init__(self) -> None:
        if not 0 < self.memory_ratio <= 1:
            raise ValueError(f"memory_ratio must be above 0 and at most 1, not {self.memory_ratio}")
        for name in ("max_server_memory_bytes", "max_statement_memory_bytes", "mark_cache_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.query_log_days < 1:
            raise ValueError(f"query_log_days must be at least 1, not {self.query_log_days}")
        if not self.backups_path.strip():
            raise ValueError("backups_path must not be empty")

    def folders(self, data: Path) -> EngineFolders:
        """The folders of an engine.

        :param data: its data folder, an absolute path.
        """
        return EngineFolders(data, data / self.backups_path)

    def connection_settings(self) -> dict[str, int]:
        """Settings that each connection begins with: the engine takes no profiles from its file."""
        limit = self.max_statement_memory_bytes
        return {"max_memory_usage": limit} if limit else {}

    def write(self, path: Path, folders: EngineFolders) -> None:
        """Write the engine's configuration file, replacing the one of an earlier run in one step.

        :param folders: where the engine may find and leave files.
        """
        elements = [
            *folders.elements(),
            f"<max_server_memory_usage_to_ram_ratio>{self.memory_ratio}</max_server_memory_usage_to_ram_ratio>",
            f"<max_server_memory_usage>{self.max_server_memory_bytes}</max_server_memory_usage>",
            f"<mark_cache_size>{self.mark_cache_bytes}</mark_cache_size>",
        ]
        if self.query_log:
            time_to_live = f"event_date + INTERVAL {self.query_log_days} DAY DELETE"
            elements.append(
                "<query_log><database>system</database><table>query_log</table>"
                "<flush_interval_milliseconds>2000</flush_interval_milliseconds>"
                f"<ttl>{escape(time_to_live)}</ttl></query_log>"
            )
        text = "<clickhouse>\n  " + "\n  ".join(elements) + "\n</clickhouse>\n"
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _bytes(text: str) -> bytes:
    # A client may send what is no text; it is compared all the same.
    return text.encode(errors="surrogatepass")
