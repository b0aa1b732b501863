"""Airflow's REST API and one DAG in it, for the scripts that compute and cache days. Needs Python alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

DEFAULT_DAG_ID = "device_statistic_daily"

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ScriptError(Exception):
    """The work cannot be started or followed; the text says why and what to do."""


class ApiError(ScriptError):
    """Airflow answered with an error.

    :param status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiUnreachable(ScriptError):
    """Airflow did not answer."""


class Api(Protocol):
    """What is needed of Airflow's REST API: one JSON request to a path below /api/v2."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]: ...


class AirflowApi:
    """Airflow's REST API over the standard library.

    :param url: of the web interface.
    :param token: a bearer token, or else
    :param username: a login
    :param password: and its password, for which a token is fetched (again, when it has expired).
    :param timeout: seconds for one request.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ScriptError(f"--url {url}: expected http://host:port or https://host")
        if not token and not (username and password):
            raise ScriptError("no credentials: set AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD")
        self.url = url.rstrip("/")
        self._token = token
        self._login = (username, password) if username and password else None
        self._timeout = timeout
        # A proxy leads away from this machine, never to it.
        handlers = [urllib.request.ProxyHandler({})] if parts.hostname in _LOOPBACK else []
        self._opener = urllib.request.build_opener(*handlers)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """:param timeout: seconds, for a request that takes longer than others.

        :raises ApiError: an error status.
        :raises ApiUnreachable: no answer.
        """
        if self._token is None:
            self._token = self._fetch_token()
        address = f"/api/v2{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            return self._send(method, address, body, timeout)
        except ApiError as error:
            if error.status != HTTPStatus.UNAUTHORIZED or self._login is None:
                raise
        self._token = self._fetch_token()
        return self._send(method, address, body, timeout)

    def _fetch_token(self) -> str:
        if self._login is None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, f"{self.url} refused AIRFLOW_TOKEN")
        username, password = self._login
        self._token = None
        try:
            return str(self._send("POST", "/auth/token", {"username": username, "password": password})["access_token"])
        except ApiError as error:
            if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise ApiError(error.status, f"{self.url} refused the login of {username}") from None
            raise

    def _send(
        self, method: str, address: str, body: Mapping[str, object] | None, timeout: float | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + address, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout or self._timeout) as response:
                answer = json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, f"{method} {address}: {error.code} {_detail(error.read())}") from None
        except OSError as error:
            raise ApiUnreachable(f"{self.url} does not answer: {error}") from None
        except ValueError:
            raise ApiError(HTTPStatus.BAD_GATEWAY, f"{method} {address}: no JSON; is this Airflow's address?") from None
        if not isinstance(answer, dict):
            raise ApiError(HTTPStatus.BAD_GATEWAY, f"{method} {address}: unexpected answer; is this Airflow's address?")
        return answer


def _detail(body: bytes) -> str:
    text = body.decode(errors="replace")
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300]
    return detail if isinstance(detail, str) else json.dumps(detail)


class Dag:
    """One DAG, as Airflow's API knows it.

    :param api: Airflow.
    :param dag_id: the DAG.
    """

    def __init__(self, api: Api, dag_id: str) -> None:
        self._api = api
        self.dag_id = dag_id
        self.path = f"/dags/{quote(dag_id, safe='')}"

    def read(self, *, details: bool = False) -> dict[str, Any]:
        """:raises ScriptError: there is no such DAG, or Airflow is out of reach."""
        try:
            return self._api.request("GET", self.path + ("/details" if details else ""))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise ScriptError(
                    f"there is no DAG {self.dag_id} (not parsed yet, or its file has an import error)"
                ) from None
            raise

    def zone(self, given: str | None) -> ZoneInfo:
        """Return the zone in which a day begins at midnight.

        :param given: an IANA name; None = what the DAG says of its days.
        :raises ScriptError: there is no such zone, or the DAG does not say.
        """
        name = given or self._own_zone()
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ScriptError(f"--timezone {name}: not an IANA time zone (such as UTC or Asia/Seoul)") from None

    def _own_zone(self) -> str:
        """Return the zone that the DAG says its days are in.

        Airflow's own answer will not do: 3.3.2 gives its default zone for every DAG, whatever the DAG's is.
        """
        name = self.parameters().get("stat_date", {}).get("schema", {}).get("timezone")
        if not name:
            raise ScriptError(f"{self.dag_id} does not say in which zone its days are: pass --timezone")
        return str(name)

    def parameters(self) -> dict[str, Any]:
        """Return what a run can be asked."""
        return self.read(details=True).get("params") or {}

    def require_unpaused(self, *, unpause: bool, dry_run: bool, report: Callable[[str], None]) -> None:
        """Unpause the DAG if that is asked for.

        :raises ScriptError: it is paused, and that is not asked for.
        """
        if not self.read().get("is_paused"):
            return
        if dry_run:
            report(f"{self.dag_id} is paused: its runs would stay queued")
        elif unpause:
            self._api.request("PATCH", self.path, query={"update_mask": "is_paused"}, body={"is_paused": False})
            report(f"{self.dag_id}: unpaused")
        else:
            raise ScriptError(f"{self.dag_id} is paused: its runs would stay queued. Unpause it, or pass --unpause")

    def scheduler_is_healthy(self) -> bool:
        """Whether Airflow says so; True if it does not answer, for that is noticed where its answer is needed."""
        try:
            health = self._api.request("GET", "/monitor/health")
        except (ApiUnreachable, ApiError):
            return True
        return bool(health["scheduler"]["status"] == "healthy")


def is_passing(error: ScriptError) -> bool:
    """Whether an error may be over at the next try, such as a restart of the api-server."""
    return isinstance(error, ApiUnreachable) or (
        isinstance(error, ApiError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )


def api_from(options: argparse.Namespace, environment: Mapping[str, str]) -> AirflowApi:
    """Return the API at ``--url``, with the credentials that the environment has.

    :raises ScriptError: a malformed address, or no credentials.
    """
    return AirflowApi(
        options.url,
        token=environment.get("AIRFLOW_TOKEN"),
        username=environment.get("AIRFLOW_USERNAME"),
        password=environment.get("AIRFLOW_PASSWORD"),
    )
