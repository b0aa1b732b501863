"""Who may change what: a permission per kind of change, given to Airflow's roles by the variable ``maxy_permissions``.

The variable is a JSON object such as ``{"jobs.cancel": "user", "default": "op"}``: the least role that has a
permission. ``default`` is for permissions that are not named, and is ``op`` unless it is. Viewers never have any, so
``viewer`` is no value.

Airflow's auth managers do not agree on what a role is, but all of them answer whether a user may do a thing of
Airflow's. Who may edit DAGs counts as ``user``, who may edit variables as ``op``; an ``admin`` is who has a role of
that name.
"""

from __future__ import annotations

import json
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager

VARIABLE = "maxy_permissions"
_DEFAULT = "default"
_PERMISSION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class Role(IntEnum):
    """Airflow's roles that may change something, the lowest first."""

    USER = 1
    OP = 2
    ADMIN = 3


class Permissions:
    """The least role of each permission.

    :param roles: by permission; ``default`` for the others.
    """

    def __init__(self, roles: Mapping[str, Role] | None = None) -> None:
        self._roles = {_DEFAULT: Role.OP, **(roles or {})}

    @classmethod
    def parse(cls, text: str) -> Permissions:
        """Read the variable's value; an empty one is an empty object.

        :raises ValueError: naming the permission that is wrong.
        """
        try:
            value = json.loads(text.strip() or "{}")
        except ValueError as error:
            raise ValueError(f"Airflow variable {VARIABLE}: not valid JSON ({error})") from None
        if not isinstance(value, dict):
            raise ValueError(f"Airflow variable {VARIABLE}: expected a JSON object of permissions and roles")
        return cls({name: _role(name, role) for name, role in value.items()})

    def least_role(self, permission: str) -> Role:
        """Return the least role that has a permission."""
        return self._roles.get(permission, self._roles[_DEFAULT])


def check_name(permission: str) -> str:
    """Return a permission's name.

    :raises ValueError: it is not of the form ``family.action``.
    """
    if not _PERMISSION.fullmatch(permission):
        raise ValueError(f"permission {permission!r}: expected a name such as jobs.cancel")
    return permission


def has_role(manager: BaseAuthManager[Any], user: Any, role: Role) -> bool:
    """Whether a user has a role or a higher one.

    :param manager: Airflow's auth manager.
    """
    names = role_names(user)
    if names == {"viewer"}:
        # Whatever an auth manager lets its viewers do.
        return False
    if role is Role.ADMIN:
        return "admin" in names
    if role is Role.OP:
        return bool(manager.is_authorized_variable(method="PUT", user=user))
    return bool(manager.is_authorized_dag(method="PUT", user=user))


def role_names(user: Any) -> set[str]:
    """Return the names of a user's roles, in lower case; none where the auth manager's users have none."""
    single = getattr(user, "role", None)
    several = getattr(user, "roles", None) or ()
    found = [single, *(getattr(role, "name", role) for role in several)]
    return {str(name).lower() for name in found if name}


def _role(name: str, role: object) -> Role:
    if name != _DEFAULT and not _PERMISSION.fullmatch(name):
        raise ValueError(f"Airflow variable {VARIABLE}: {name!r} is no permission, expected a name such as jobs.cancel")
    try:
        return Role[str(role).upper()]
    except KeyError:
        roles = ", ".join(one.name.lower() for one in Role)
        raise ValueError(f"Airflow variable {VARIABLE}: {name}: {role!r} is no role, expected one of {roles}") from None
