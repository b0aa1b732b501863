"""Error texts as drivers write them, and what of them may leave the house."""

from __future__ import annotations

import pytest

from maxy._addresses import HIDDEN, hide_addresses

# What was said, and what is left of it.
HAVE_ADDRESSES = {
    "clickhouse-connect, aiohttp": (
        "ClientConnectorError: Cannot connect to host stats-db.eu-1:8123 ssl:default [Connect call failed"
        " ('10.20.30.40', 8123)]",
        f"ClientConnectorError: Cannot connect to host {HIDDEN} ssl:default [Connect call failed {HIDDEN}]",
    ),
    "clickhouse-connect, aiohttp, both families": (
        "Cannot connect to host db:8443 ssl:True [Multiple exceptions: Connect call failed ('::1', 8443, 0, 0),"
        " Connect call failed ('127.0.0.1', 8443)]",
        f"Cannot connect to host {HIDDEN} ssl:True [Multiple exceptions: Connect call failed {HIDDEN},"
        f" Connect call failed {HIDDEN}]",
    ),
    "clickhouse-connect, urllib3": (
        "OperationalError: Error HTTPConnectionPool(host='db-7', port=8123): Max retries exceeded with url: /?"
        " executing HTTP request attempt 1 (http://db-7:8123)",
        f"OperationalError: Error HTTPConnectionPool({HIDDEN}): Max retries exceeded with url: /?"
        f" executing HTTP request attempt 1 ({HIDDEN})",
    ),
    "clickhouse-connect, of the server": (
        "DatabaseError: HTTPDriver for https://user:pass@10.1.1.1:8443/x received ClickHouse error code 60\n Code: 60."
        " DB::Exception: Table shop.orders does not exist. (UNKNOWN_TABLE) (version 26.9.1.12 (official build))",
        f"DatabaseError: HTTPDriver for {HIDDEN} received ClickHouse error code 60\n Code: 60."
        " DB::Exception: Table shop.orders does not exist. (UNKNOWN_TABLE) (version 26.9.1.12 (official build))",
    ),
    "clickhouse-driver": ("Code: 210. Connection refused (db_2:9000)", f"Code: 210. Connection refused ({HIDDEN})"),
    "ClickHouse, of another one": (
        "DB::NetException: Timeout exceeded while reading from socket (peer: 192.168.7.7:9000, local: [fd00::7]:51234)",
        f"DB::NetException: Timeout exceeded while reading from socket (peer: {HIDDEN}, local: {HIDDEN})",
    ),
    "ClickHouse, received": (
        "Received from ch-3.stats.svc.cluster.local:9440. DB::Exception: Memory limit",
        f"Received from {HIDDEN}. DB::Exception: Memory limit",
    ),
    "redis-py": (
        "ConnectionError: Error 111 connecting to cache.prod:6379. Connection refused.",
        f"ConnectionError: Error 111 connecting to {HIDDEN}. Connection refused.",
    ),
    "redis-py, reading": ("Timeout reading from cache-0:6379", f"Timeout reading from {HIDDEN}"),
    "redis-py, url": ("bad: rediss://:secret@cache:6380/3.", f"bad: {HIDDEN}."),
    "psycopg": (
        'connection to server at "10.0.0.5", port 5432 failed: Connection refused',
        f"connection to server at {HIDDEN} failed: Connection refused",
    ),
    "psycopg, name and address": (
        'connection to server at "pg.prod" (fe80::1), port 5432 failed: FATAL: no',
        f"connection to server at {HIDDEN} failed: FATAL: no",
    ),
    "psycopg, name": (
        'could not translate host name "pg-main" to address: Name or service not known',
        f"could not translate host {HIDDEN} to address: Name or service not known",
    ),
    "kafka": (
        "kafka-1:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused",
        f"{HIDDEN}/1: Connect to ipv4#{HIDDEN} failed: Connection refused",
    ),
    "kafka, with a colon behind": (
        "GroupCoordinator: kafka-2.prod:9093: Disconnected",
        f"GroupCoordinator: {HIDDEN}: Disconnected",
    ),
    "go": ("dial tcp 10.0.0.1:9000: connect: connection refused", f"dial tcp {HIDDEN}: connect: connection refused"),
    "urllib3, time-out": (
        "Connection to db-3 timed out. (connect timeout=5)",
        f"Connection to {HIDDEN} timed out. (connect timeout=5)",
    ),
    "mysql": ("Can't connect to MySQL server on 'db1' (111)", f"Can't connect to MySQL server on {HIDDEN} (111)"),
    "TLS": (
        "certificate verify failed: IP address mismatch, certificate is not valid for '10.9.8.7'.",
        f"certificate verify failed: IP address mismatch, certificate is not valid for '{HIDDEN}'.",
    ),
    "name service": ("Failed to resolve 'db-9' ([Errno -2])", f"Failed to resolve {HIDDEN} ([Errno -2])"),
    "bare": ("no route to 2001:db8::8a2e:370:7334 here", f"no route to {HIDDEN} here"),
}

HAVE_NONE = [
    "3 ticks failed in a row: TypeError: figures() must return Columns, not list (loop a, class shop.loops.Sales)",
    "no good tick since 2026-11-21T07:36:14.102570Z (noticed 2026-11-21T07:39:14.000000Z), at 07:36 and at 07:36:14",
    "ValueError: page: 2 rows of the result have the key 'stats:realtime:page:shop:1201:ios': ('a', '12')",
    "Code: 62. DB::Exception: Syntax error: failed at position 12 (line 3, col 10): SELECT a::UInt8 FROM db.table",
    "Code: 241. DB::Exception: Memory limit exceeded (version 24.8.4.13 (official build))",
    "TimeoutError: Timeout connecting to server",
    "connection to server was lost; the connection to the database failed; Connection refused",
    "key 'shop:1201:ios' and 'e:x'; line 12: SELECT a",
    "KeyError: 'std::vector'; DB::Exception; 12:34; 1.5 s; 50 %; 3/4; {name:String}; %(day)s",
    "its status is 11 s ahead of the clock here: the clock of its host (here) and this one differ, or one was set",
    "table shop.orders_local does not exist; schedule 10:30; {'country': 'KR', 'orders': '12'}",
    "",
]


@pytest.mark.parametrize(("said", "left"), HAVE_ADDRESSES.values(), ids=HAVE_ADDRESSES.keys())
def test_addresses_of_servers_go(said: str, left: str) -> None:
    assert hide_addresses(said) == left


@pytest.mark.parametrize("said", HAVE_NONE)
def test_all_else_stays(said: str) -> None:
    assert hide_addresses(said) == said


@pytest.mark.parametrize("said", [said for said, _ in HAVE_ADDRESSES.values()])
def test_a_second_time_changes_nothing(said: str) -> None:
    once = hide_addresses(said)
    assert hide_addresses(once) == once
