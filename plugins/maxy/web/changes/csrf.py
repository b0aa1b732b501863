"""The CSRF token of a login by cookie.

A browser sends Airflow's login cookie with whatever request a page has it send, another site's page too. So a change
needs something that only a page of this site can have read: a token that is made from the cookie and a secret of the
server's. Nothing is stored; with another login it is another token, and a page that gets 403 asks for it again. A
bearer token is never sent by a browser on its own, so it needs none.
"""

from __future__ import annotations

import hashlib
import hmac

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.configuration import conf
from fastapi import APIRouter, HTTPException, Request
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import BaseModel, Field

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.models import Problem

HEADER = "X-CSRF-Token"
# So that no other use of the same secret can make such a token.
_PURPOSE = b"maxy csrf token\0"

router = APIRouter(
    prefix="/api",
    tags=["changes"],
    dependencies=[MAY_SEE_PLUGINS],
    responses={
        401: {"model": Problem, "description": "not logged in to Airflow"},
        403: {"model": Problem, "description": "not allowed to see Airflow's plugins"},
    },
)


class CsrfToken(BaseModel):
    """What a page sends along with a change."""

    header: str = Field(HEADER, description="the header that bears it")
    token: str | None = Field(description="for this login; null for a login by bearer token, which needs none")


@router.get("/csrf", summary="The token that a page sends along with a change")
async def csrf(request: Request) -> CsrfToken:
    """Give the CSRF token of this login."""
    cookie = request.cookies.get(COOKIE_NAME_JWT_TOKEN)
    return CsrfToken(header=HEADER, token=None if is_bearer(request) or not cookie else make_token(cookie))


def is_bearer(request: Request) -> bool:
    """Whether the login is a bearer token, by the rule by which Airflow prefers it to the cookie."""
    scheme, credentials = get_authorization_scheme_param(request.headers.get("authorization"))
    return scheme.lower() == "bearer" and bool(credentials)


def make_token(cookie: str) -> str:
    """Return the token of a login.

    :param cookie: the value of Airflow's login cookie.
    """
    secret = conf.get_mandatory_value("api", "secret_key").encode()
    return hmac.new(secret, _PURPOSE + cookie.encode(), hashlib.sha256).hexdigest()


def check_csrf(request: Request) -> None:
    """Refuse a login by cookie without its token.

    :raises HTTPException: 403.
    """
    if is_bearer(request):
        return
    cookie, token = request.cookies.get(COOKIE_NAME_JWT_TOKEN, ""), request.headers.get(HEADER, "")
    if not cookie or not hmac.compare_digest(token.encode(), make_token(cookie).encode()):
        raise HTTPException(403, f"{HEADER} is missing or not this login's: GET api/csrf gives it")
