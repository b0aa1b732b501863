"""Put the administrator's password where Airflow's SimpleAuthManager looks for it.

    AIRFLOW_ADMIN_PASSWORD=... python docker/write_login.py

Without the file SimpleAuthManager would make up a password and print it into the log. Other users' entries are kept.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ADMIN = "admin"
_PASSWORDS_FILE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
_PASSWORD = "AIRFLOW_ADMIN_PASSWORD"


def write_login(path: Path, password: str) -> None:
    """Set the administrator's password, readable by the file's owner alone.

    :raises ValueError: the file is there, but is not what SimpleAuthManager writes.
    """
    passwords = _existing(path)
    passwords[ADMIN] = password
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(passwords, file)
    # In one step: the api-server may be reading it.
    temporary.replace(path)


def _existing(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        passwords = json.loads(text or "{}")
    except ValueError:
        passwords = None
    if not isinstance(passwords, dict):
        raise ValueError(f"{path}: expected one JSON object of users and passwords; mend it or remove it")
    return passwords


def main(environment: Mapping[str, str] = os.environ) -> int:
    missing = [name for name in (_PASSWORDS_FILE, _PASSWORD) if not environment.get(name)]
    if missing:
        print(f"write_login: {' and '.join(missing)} not set", file=sys.stderr)
        return 2
    path = Path(environment[_PASSWORDS_FILE])
    try:
        write_login(path, environment[_PASSWORD])
    except (OSError, ValueError) as error:
        print(f"write_login: {error}", file=sys.stderr)
        return 1
    print(f"login {ADMIN}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
