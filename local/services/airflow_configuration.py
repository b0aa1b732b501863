"""What Airflow is told apart from its own settings: a file that people edit, and which warnings it keeps to itself."""

from __future__ import annotations

from configparser import ConfigParser
from configparser import Error as ConfigurationError
from typing import TYPE_CHECKING

from local.processes import ProcessError
from local.services.part import one_line

if TYPE_CHECKING:
    from pathlib import Path

# Airflow 3.3 reads its ignore files by a class that pathspec 1 calls deprecated, in every process and task. An older
# pathspec would not do for mypy. Only what is said of these two modules of Airflow's own goes.
_IGNORED = ",".join(
    f"ignore:GitWildMatchPattern:DeprecationWarning:{module}"
    for module in (
        "airflow._shared.module_loading.file_discovery",
        "airflow.sdk._shared.module_loading.file_discovery",
    )
)


def check_configuration_file(path: Path) -> None:
    """Read ``airflow.cfg`` as Airflow does; there is none before its first start.

    :raises ProcessError: it cannot be read; in one line, with the file and the place.
    """
    parser = ConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
        for section in parser.sections():
            parser.items(section)
    except FileNotFoundError:
        return
    except (ConfigurationError, UnicodeDecodeError, OSError) as error:
        raise ProcessError(
            f"{path} cannot be read: {one_line(str(error))}. Mend it, or remove it: Airflow then writes a new one"
        ) from None


def quiet_airflows_own_warnings(given: str) -> str:
    """Return ``PYTHONWARNINGS`` without warnings about Airflow's own code that nobody here can mend.

    :param given: what the variable was; it has the last word.
    """
    return f"{_IGNORED},{given}" if given else _IGNORED
