"""Refuses requests that another site's page has a browser send.

Browsers say where a request comes from, in ``Sec-Fetch-Site`` and in ``Origin``, and no page can change that. Programs
send neither, and are let through; a browser's login by cookie needs at least one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.configuration import conf
from fastapi import HTTPException

from maxy.web.changes.csrf import is_bearer

if TYPE_CHECKING:
    from fastapi import Request

# "none": the user, by the address bar or a bookmark.
_OWN_SITE = frozenset({"same-origin", "none"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_origin(request: Request) -> None:
    """Refuse a request of another site's page.

    :raises HTTPException: 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site not in _OWN_SITE:
        raise HTTPException(403, f"changes are made from this site's own pages alone: Sec-Fetch-Site is {site}")
    if origin is not None and _parts(origin) not in _own_origins(request):
        raise HTTPException(403, "changes are made from this site's own pages alone: Origin is another site's")
    if site is None and origin is None and not is_bearer(request):
        raise HTTPException(403, "a browser says where its request comes from: Origin and Sec-Fetch-Site are missing")


def _own_origins(request: Request) -> set[tuple[str, str, int | None]]:
    """Return the address that the request was sent to, and the one that browsers see in front of a proxy."""
    configured = conf.get("api", "base_url", fallback="")
    return {_parts(str(request.base_url)), *([_parts(configured)] if configured else [])}


def _parts(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port; of what is no address, such as ``null``, an origin that nobody has."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", "", None
