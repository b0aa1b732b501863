"""Statements stay inside the server's folders, whichever way and protocol they come."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clickhouse_driver.errors import Error as DriverError

from clickhouse_testkit.native_client import connected
from clickhouse_testkit.plain_http import Http
from clickhouse_testkit.source import SOURCE
from embedded_clickhouse.testing import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRET = "the-hosts-own-words"


@dataclass(frozen=True)
class _Place:
    """A server, its folder of user files and a folder of the host that is none of its business."""

    server: Server
    files: Path
    outside: Path

    @property
    def http(self) -> Http:
        return Http(self.server)

    def fill(self, sql: str) -> str:
        return sql.replace("@OUT", str(self.outside)).replace("@IN", str(self.files))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Place]:
    directory, outside = tmp_path_factory.mktemp("confined"), tmp_path_factory.mktemp("outside")
    (outside / "secret.csv").write_text(f"{_SECRET}\n")
    (outside / "table").mkdir()
    with running_server(directory) as server:
        files = directory / "data" / "user_files"
        (files / "rows.csv").write_text("1,one\n2,two\n")
        (files / "deep" / "er").mkdir(parents=True)
        (files / "deep" / "er" / "rows.csv").write_text("3,three\n")
        (files / "links").mkdir()
        (files / "links" / "secret.csv").symlink_to(outside / "secret.csv")
        (files / "links" / "folder").symlink_to(outside)
        (files / "hard").mkdir()
        os.link(outside / "secret.csv", files / "hard" / "secret.csv")
        here = _Place(server, files, outside)
        here.http.ask("CREATE TABLE some (a Int32) ENGINE = MergeTree ORDER BY a")
        yield here


_READS = [
    # Code, statement.
    (291, "SELECT * FROM file('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM FILE('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM \"file\"('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM `f\\x69le`('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM \u201cfile\u201d('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file/* ( */('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file -- '\n (\n'@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file($$@OUT/secret.csv$$, 'LineAsString')"),
    (291, "SELECT 1 AS $y$, * FROM file('@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('@IN/../../../../../../../../..@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('../user_files/../../../outside/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('@OUT' || '/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file(concat('@OUT', '/secret.csv'), 'LineAsString')"),
    (291, "WITH '@OUT/secret.csv' AS p SELECT * FROM file(p, 'LineAsString')"),
    (291, "SELECT * FROM file('@OUT/{secret,x}.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('@IN/{..,deep}/../../server.json', 'LineAsString')"),
    (291, "SELECT * FROM file('@IN/*/../../../server.json', 'LineAsString')"),
    (291, "SELECT * FROM file('/**', 'LineAsString') LIMIT 1"),
    (291, "SELECT * FROM file('links/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('links/*.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('links', 'LineAsString')"),
    (291, "SELECT * FROM file('links/folder/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('**/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('hard/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('@OUT/a.tar :: secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM file('/proc/self/environ', 'LineAsString')"),
    (291, "SELECT * FROM file('/dev/fd/5', 'LineAsString')"),
    (291, "SELECT * FROM file('stdin', 'LineAsString')"),
    (291, "SELECT * FROM file('-', 'LineAsString')"),
    (291, "SELECT * FROM (SELECT * FROM (SELECT * FROM file('@OUT/secret.csv', 'LineAsString')))"),
    (291, "SELECT 1 WHERE 'x' IN (SELECT * FROM file('@OUT/secret.csv', 'LineAsString'))"),
    (291, "SELECT (SELECT * FROM file('@OUT/secret.csv', 'LineAsString') LIMIT 1)"),
    (291, "WITH x AS (SELECT * FROM file('@OUT/secret.csv', 'LineAsString')) SELECT * FROM x"),
    (291, "SELECT 1 UNION ALL SELECT length(line) FROM file('@OUT/secret.csv', 'LineAsString')"),
    (291, "EXPLAIN SELECT * FROM file('@OUT/secret.csv')"),
    (291, "DESCRIBE TABLE file('@OUT/secret.csv')"),
    (291, "SELECT * FROM view(SELECT * FROM file('@OUT/secret.csv', 'LineAsString'))"),
    (291, "SELECT * FROM remote('127.0.0.1', file('@OUT/secret.csv', 'LineAsString', 'l String'))"),
    (291, "SELECT * FROM loop(file('@OUT/secret.csv', 'LineAsString')) LIMIT 1"),
    (291, "SELECT * FROM fileCluster('c', '@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT file('@OUT/secret.csv')"),
    (291, "SELECT file(c) FROM (SELECT '@OUT/secret.csv' AS c)"),
    (291, "SELECT file(concat('@OUT', c)) FROM (SELECT '/secret.csv' AS c)"),
    (291, "SELECT * FROM url('file://@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM URL('FILE://@OUT/secret.csv', 'LineAsString')"),
    (291, "SELECT * FROM url(concat('fi', 'le://@OUT/secret.csv'), 'LineAsString')"),
    (291, "SELECT * FROM url('secret.csv', 'LineAsString') SETTINGS url_base = 'file://@OUT/'"),
    (291, "SELECT * FROM filesystem('@OUT')"),
    (291, "SELECT * FROM filesystem('..')"),
    (291, "SELECT * FROM filesystem('links')"),
    (291, "SELECT * FROM `@OUT/secret.csv`"),
    (291, 'SELECT * FROM default."@OUT/secret.csv"'),
    (291, "SELECT * FROM default.`@IN/../../../../../../../../../..@OUT/secret.csv`"),
    (291, "SELECT * FROM loop('default', '@OUT/secret.csv') LIMIT 1"),
    (36, "SELECT * FROM loop('default', concat('@OUT', '/secret.csv')) LIMIT 1"),
    (291, "SELECT * FROM remote('127.0.0.1', 'default', '@OUT/secret.csv')"),
    (481, "SELECT * FROM sqlite('@OUT/some.db', 't')"),
    (481, "SELECT * FROM icebergLocal('@OUT/table')"),
    (481, "SELECT * FROM deltaLakeLocal('@OUT/table')"),
    (46, "SELECT * FROM Python(secrets)"),
    (46, "SELECT * FROM python('x')"),
    (36, "SELECT 1 AS a FORMAT Template SETTINGS format_template_row = '@OUT/secret.csv'"),
    (36, "SELECT * FROM format(Protobuf, 'x') SETTINGS format_schema = '@OUT/secret.csv:Message'"),
    (36, "SELECT * FROM format(Protobuf, 'x') SETTINGS format_schema = '../../server:Message'"),
]


@pytest.mark.parametrize(("code", "sql"), _READS)
def test_no_file_outside_is_read(place: _Place, code: int, sql: str) -> None:
    sql = place.fill(sql)
    got = place.http.request("GET", query=sql, database=place.server.database)
    posted = place.http.post(sql)
    for reply in (got, posted):
        assert _SECRET not in reply.text
        assert reply.headers["x-clickhouse-exception-code"] == str(code), reply.text
    with connected(place.server) as client, pytest.raises(DriverError) as raised:
        client.execute(sql)
    assert getattr(raised.value, "code", None) == code
    assert _SECRET not in str(raised.value)


_CHANGES = [
    (291, "INSERT INTO FUNCTION file('@OUT/new.csv', 'CSV', 'a UInt8') SELECT 1"),
    (291, "INSERT INTO TABLE FUNCTION file('@OUT/new.csv', 'CSV', 'a UInt8') SELECT 1"),
    (291, "INSERT INTO FUNCTION file('@OUT/new_{_partition_id}.csv', 'CSV', 'a UInt8') PARTITION BY a SELECT 1"),
    (291, "INSERT INTO FUNCTION file('links/folder/new.csv', 'CSV', 'a UInt8') SELECT 1"),
    (291, "WITH 1 AS x INSERT INTO FUNCTION file('@OUT/new.csv', 'CSV', 'a UInt8') SELECT x"),
    (291, "INSERT INTO FUNCTION url('file://@OUT/new.csv', 'CSV', 'a UInt8') SELECT 1"),
    (291, "INSERT INTO `@OUT/secret.csv` SELECT 'x'"),
    (291, "CREATE TABLE f (a UInt8) ENGINE = File(CSV, '@OUT/new.csv')"),
    (291, "CREATE TABLE f (a UInt8) ENGINE = File(CSV, 5)"),
    (291, "CREATE TABLE f (a UInt8) ENGINE = File(CSV, stdout)"),
    (291, "CREATE TABLE f AS file('@OUT/secret.csv', 'LineAsString')"),
    (291, "CREATE TABLE f ENGINE = MergeTree ORDER BY () AS SELECT * FROM file('@OUT/secret.csv', 'LineAsString')"),
    (291, "CREATE VIEW f AS SELECT * FROM file('@OUT/secret.csv', 'LineAsString')"),
    (291, "CREATE VIEW f AS SELECT * FROM file({p:String}, 'LineAsString')"),
    (291, "CREATE MATERIALIZED VIEW f ENGINE = Memory AS SELECT file('@OUT/secret.csv') FROM some"),
    (291, "CREATE FUNCTION f AS (x) -> file(x)"),
    (291, "CREATE TABLE f (l String) ENGINE = URL('file://@OUT/secret.csv', 'LineAsString')"),
    (291, "CREATE DATABASE f ENGINE = URL('file://@OUT/')"),
    (36, "CREATE DATABASE f ENGINE = Filesystem('@OUT')"),
    (36, "CREATE DATABASE f ENGINE = Filesystem('../..')"),
    (481, "CREATE DATABASE f ENGINE = SQLite('@OUT/some.db')"),
    (481, "CREATE TABLE f (a UInt8) ENGINE = SQLite('@OUT/some.db', 't')"),
    (36, "CREATE TABLE f (a UInt8, b UInt8) ENGINE = EmbeddedRocksDB(0, '@OUT/rocks') PRIMARY KEY a"),
    (36, "CREATE TABLE f (a String) ENGINE = FileLog('@OUT', 'CSV')"),
    (481, "CREATE TABLE f (a Int32) ENGINE = IcebergLocal('@OUT/table')"),
    (481, "ATTACH TABLE f FROM '@OUT/table' (a Int8) ENGINE = MergeTree ORDER BY a"),
    (36, "CREATE TABLE f (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '@OUT/d/')"),
    (36, "CREATE TABLE f (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local_blob_storage', "
         "path = '@OUT/d/')"),
    (36, "CREATE TABLE f (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = cache, max_size = '1Mi', "
         "path = '@OUT/d/', disk = 'default')"),
    (481, "CREATE DICTIONARY f (a String, b String) PRIMARY KEY a SOURCE(FILE(PATH '@OUT/secret.csv' FORMAT 'CSV')) "
          "LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)"),
    (482, "CREATE DICTIONARY f (a String, b String) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'touch @OUT/new.csv' "
          "FORMAT 'CSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)"),
    (482, "CREATE DICTIONARY f (a String, b String) PRIMARY KEY a source(executable_pool(command 'touch @OUT/new.csv' "
          "format 'CSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)"),
    (482, "CREATE DICTIONARY f (a UInt64, b String) PRIMARY KEY a SOURCE(LIBRARY(PATH '@OUT/x.so')) LAYOUT(FLAT()) "
          "LIFETIME(0)"),
    (291, "CREATE DICTIONARY f (a String, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT line, line FROM "
          "file(\\'@OUT/secret.csv\\', \\'LineAsString\\')')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)"),
    (291, "CREATE DICTIONARY f (a UInt64, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 'some' WHERE "
          "'file(\\'@OUT/secret.csv\\') != \\'\\'')) LAYOUT(FLAT()) LIFETIME(0)"),
    (481, "CREATE NAMED COLLECTION f AS url = 'file://@OUT/secret.csv'"),
    (481, "CREATE NAMED COLLECTION f AS path = '@OUT/secret.csv', format = 'LineAsString'"),
    (344, "CREATE TABLE f (query String) ENGINE = QueryRunner"),
    (36, "SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '@OUT/new.proto'"),
    (36, "SET format_schema = '@OUT/secret.csv:M'"),
    (36, "BACKUP TABLE some TO File('@OUT/backup')"),
    (36, "BACKUP TABLE some TO File('../../../backup')"),
    (36, "BACKUP DATABASE test TO Disk('default', 'backup')"),
    (36, "RESTORE TABLE some AS f FROM File('@OUT/table')"),
    (36, "CREATE DATABASE f ENGINE = Backup('test', File('@OUT/table'))"),
    (358, "SELECT 1 INTO OUTFILE '@OUT/new.csv' FORMAT CSV"),
    (358, "SELECT 42 AS $y$ INTO OUTFILE '@OUT/new.csv' FORMAT CSV"),
    (48, "INSERT INTO some FROM INFILE '@OUT/secret.csv' FORMAT CSV"),
    (48, "WITH 1 AS $y$ INSERT INTO some FROM INFILE '@OUT/secret.csv' FORMAT CSV"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "sql"), _CHANGES)
def test_nothing_outside_is_written_or_taken_in(place: _Place, code: int, sql: str) -> None:
    sql = place.fill(sql)
    reply = place.http.post(sql)
    assert reply.headers["x-clickhouse-exception-code"] == str(code), reply.text
    assert _SECRET not in reply.text
    with connected(place.server) as client, pytest.raises(DriverError) as raised:
        client.execute(sql)
    assert getattr(raised.value, "code", None) == code
    assert {path.name for path in place.outside.iterdir()} == {"secret.csv", "table"}
    assert not list((place.outside / "table").iterdir())
    assert (place.outside / "secret.csv").read_text() == f"{_SECRET}\n"


def test_streamed_inserts_stay_inside(place: _Place) -> None:
    for target in ("file('@OUT/new.csv', 'CSV', 'a UInt8')", "`@OUT/secret.csv`"):
        function = "" if target.startswith("`") else "FUNCTION "
        sql = place.fill(f"INSERT INTO {function}{target}")
        for reply in (
            place.http.post(f"{sql} VALUES (1)"),
            place.http.request(body="1\n", query=f"{sql} FORMAT CSV", database=place.server.database),
        ):
            assert reply.headers["x-clickhouse-exception-code"] == "291", reply.text
        with connected(place.server) as client, pytest.raises(DriverError) as raised:
            client.execute(f"{sql} VALUES", [(1,)])
        assert getattr(raised.value, "code", None) == 291
    assert {path.name for path in place.outside.iterdir()} == {"secret.csv", "table"}


@pytest.mark.parametrize(
    "value",
    [
        "file('@OUT/secret.csv')",
        "upper(`f\\x69le`('@OUT/secret.csv'))",
        "(SELECT line FROM file('@OUT/secret.csv', 'LineAsString'))",
        "(SELECT * FROM `@OUT/secret.csv`)",
    ],
)
def test_expressions_among_inserted_values_stay_inside(place: _Place, value: str) -> None:
    place.http.ask("CREATE OR REPLACE TABLE words (s String) ENGINE = Memory")
    rows = place.fill(f"('a'), ({value})")
    # Beyond a size the data is not read as expressions at all.
    large = f"{rows}, " + ", ".join(f"('file {number}')" for number in range(100_000))
    for data, code in ((rows, "291"), (large, "344")):
        inline = place.http.post(f"INSERT INTO words VALUES {data}")
        beside = place.http.request(body=data, query="INSERT INTO words VALUES", database=place.server.database)
        for reply in (inline, beside):
            assert reply.headers["x-clickhouse-exception-code"] == code, reply.text
            assert _SECRET not in reply.text
        switched = place.http.post(
            f"INSERT INTO words SETTINGS input_format_values_interpret_expressions = 1 VALUES {data}"
        )
        assert switched.headers["x-clickhouse-exception-code"] == code
    with connected(place.server) as client, pytest.raises(DriverError) as raised:
        client.execute(f"INSERT INTO test.words SELECT * FROM format(Values, 's String', $${rows}$$)")
    assert getattr(raised.value, "code", None) == 291
    assert place.http.ask("SELECT count() FROM words") == "0"


def test_expressions_and_suspicious_words_among_inserted_values_are_stored(place: _Place) -> None:
    http = place.http
    http.ask("CREATE OR REPLACE TABLE words (s String) ENGINE = Memory")
    http.ask("INSERT INTO words VALUES ('file(\\'/etc/passwd\\')'), (concat('local', ' ', 'source')), (lower('/ETC'));")
    http.ask("INSERT INTO words VALUES " + ", ".join(f"('file(\\'{number}\\')')" for number in range(100_000)))
    http.ask("INSERT INTO words VALUES (concat('a', 'b'))")
    expected = "100004\tfile('/etc/passwd')"
    found = http.ask("SELECT count(), anyIf(s, s LIKE '%passwd%') FROM words FORMAT TSVRaw")
    assert found == expected
    assert (
        http.ask("SELECT groupArraySorted(3)(s) FROM words WHERE s NOT LIKE 'file%'") == "['/etc','ab','local source']"
    )


def test_files_of_expressions_are_not_read(place: _Place) -> None:
    for sql in (
        "SELECT * FROM file('rows.csv', 'Values', 's String')",
        "SELECT * FROM file('rows.csv', {f:String}, 's String')",
        "SELECT * FROM file('rows.values')",
        "CREATE TABLE v (s String) ENGINE = File(Values, 'rows.csv')",
        "SELECT * FROM format({f:String}, 's String', concat('1', '2'))",
    ):
        reply = place.http.post(sql, param_f="Values")
        assert reply.headers["x-clickhouse-exception-code"] == "36", (sql, reply.text)


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT * FROM file({p:String}, 'LineAsString')", {"param_p": "@OUT/secret.csv"}),
        ("SELECT * FROM file({p:String}, 'LineAsString')", {"param_p": "\\x2f..@OUT/secret.csv"}),
        ("SELECT * FROM file({absent:String}, 'LineAsString')", {}),
        ("SELECT * FROM {t:Identifier}", {"param_t": "@OUT/secret.csv"}),
        ("SELECT * FROM default.{t:Identifier}", {"param_t": "@OUT/secret.csv"}),
        ("SELECT * FROM url({u:String}, 'LineAsString')", {"param_u": "file://@OUT/secret.csv"}),
        ("SELECT file({p:String})", {"param_p": "@OUT/secret.csv"}),
    ],
)
def test_parameters_are_looked_at(place: _Place, sql: str, parameters: dict[str, str]) -> None:
    reply = place.http.post(sql, **{name: place.fill(value) for name, value in parameters.items()})
    assert reply.headers["x-clickhouse-exception-code"] == "291", reply.text
    assert _SECRET not in reply.text


def test_settings_of_the_request_are_looked_at(place: _Place) -> None:
    for settings in (
        {"format_schema": f"{place.outside}/secret.csv:M"},
        {"format_template_row": f"{place.outside}/secret.csv"},
        {"output_format_schema": f"{place.outside}/new.proto"},
    ):
        reply = place.http.post("SELECT 1 AS a FORMAT Protobuf", **settings)
        assert reply.headers["x-clickhouse-exception-code"] == "36", reply.text
        with connected(place.server) as client, pytest.raises(DriverError) as raised:
            client.execute("SELECT 1 AS a", settings=settings)
        assert getattr(raised.value, "code", None) == 36
    reply = place.http.post("SELECT * FROM url('secret.csv', 'LineAsString')", url_base=f"file://{place.outside}/")
    assert reply.headers["x-clickhouse-exception-code"] == "291"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM file('rows.csv', 'CSV', 'a UInt8, b String') ORDER BY a", "1\tone\n2\ttwo"),
        ("SELECT * FROM file('@IN/rows.csv') ORDER BY 1", "1\tone\n2\ttwo"),
        ("SELECT * FROM file('{p:String}', 'CSV', 'a UInt8, b String')".replace("'{p:String}'", "{p:String}"),
         "1\tone\n2\ttwo"),
        ("SELECT * FROM file('deep/**/*.csv', 'CSV', 'a UInt8, b String')", "3\tthree"),
        ("SELECT * FROM file('{rows,other}.csv', 'CSV', 'a UInt8, b String') ORDER BY a", "1\tone\n2\ttwo"),
        ("SELECT file('rows.csv')", "1,one\\n2,two\\n"),
        ("SELECT * FROM url('file://@IN/rows.csv', 'CSV', 'a UInt8, b String') ORDER BY a", "1\tone\n2\ttwo"),
        ("SELECT name FROM filesystem('deep') WHERE type = 'regular'", "rows.csv"),
        # Text is no path, wherever it stands.
        ("SELECT 'file(\\'/etc/passwd\\')', '/etc/passwd' AS `a/b`", "file(\\'/etc/passwd\\')\t/etc/passwd"),
        ("SELECT 1 AS file, 2 AS url, file + url -- FROM file('/etc/passwd')", "1\t2\t3"),
        ("SELECT count() FROM (SELECT '../../x' AS path) WHERE path LIKE '/%'", "0"),
    ],
)  # fmt: skip
def test_files_of_users_are_read(place: _Place, sql: str, expected: str) -> None:
    assert place.http.ask(place.fill(sql), param_p="rows.csv") == expected


def test_files_of_users_are_written_and_used_by_tables(place: _Place) -> None:
    http = place.http
    http.ask("INSERT INTO FUNCTION file('new/written.csv', 'CSV', 'a UInt8') VALUES (7), (8)")
    assert (place.files / "new" / "written.csv").read_text() == "7\n8\n"
    http.ask("CREATE TABLE named (a UInt8) ENGINE = File(CSV, 'named.csv')")
    http.ask("INSERT INTO named VALUES (9)")
    assert (place.files / "named.csv").read_text() == "9\n"
    http.ask("CREATE TABLE own (a UInt8) ENGINE = File(CSV)")
    http.ask("INSERT INTO own VALUES (10)")
    assert http.ask("SELECT sum(a) FROM (SELECT a FROM named UNION ALL SELECT a FROM own)") == "19"
    http.ask("CREATE VIEW seen AS SELECT * FROM file('named.csv', 'CSV', 'a UInt8')")
    assert http.ask("SELECT * FROM seen") == "9"
    http.ask(place.fill("CREATE TABLE rocks (a UInt8, b UInt8) ENGINE = EmbeddedRocksDB(0, '@IN/rocks') PRIMARY KEY a"))
    http.ask("INSERT INTO rocks VALUES (1, 2)")
    assert http.ask("SELECT b FROM rocks WHERE a = 1") == "2"
    http.ask("CREATE DATABASE lite ENGINE = SQLite('lite.db')")
    http.ask(
        place.fill(
            "CREATE DICTIONARY of_file (a UInt64, b String) PRIMARY KEY a "
            "SOURCE(FILE(PATH '@IN/rows.csv' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)"
        )
    )
    assert http.ask("SELECT dictGet('of_file', 'b', 2)") == "two"


def test_the_folders_in_use_are_those_that_the_server_shows(place: _Place) -> None:
    shown = place.http.ask("SELECT value FROM system.server_settings WHERE name = 'user_files_path'")
    assert Path(shown) == place.files


def test_the_servers_own_files_are_used_all_the_same(place: _Place) -> None:
    http = place.http
    http.ask("INSERT INTO some FORMAT CSV\n1\n2\n")
    http.ask("INSERT INTO some SELECT a FROM input('a Int32') FORMAT CSV\n3\n")
    with connected(place.server) as client:
        client.execute("INSERT INTO some VALUES", [(4,)])
    assert http.ask("SELECT sum(a) FROM some") == "10"


_EARLIER = """
import sys
from pathlib import Path
from embedded_clickhouse.engine import Engine
with Engine.open(Path(sys.argv[1])) as engine:
    # The engine's own connection has no guard, as none had earlier.
    for sql in sys.argv[2:]:
        engine.execute(sql)
"""


@pytest.fixture
def earlier(tmp_path: Path) -> tuple[Path, Path]:
    """A data folder into which an earlier version let objects that lead out, and a file outside."""
    directory, secret = tmp_path / "clickhouse", tmp_path / "secret.txt"
    secret.write_text(f"{_SECRET}\n")
    statements = [
        "CREATE DATABASE test",
        f"CREATE VIEW test.old AS SELECT * FROM file('{secret}', 'LineAsString')",
        f"CREATE TABLE test.older (line String) ENGINE = File('LineAsString', '{secret}')",
        "CREATE FUNCTION oldest AS (x) -> file(x)",
        "CREATE VIEW test.fine AS SELECT 5 AS a",
    ]
    command = [sys.executable, "-c", _EARLIER, str(directory), *statements]
    subprocess.run(command, cwd=SOURCE, check=True, timeout=60)
    return directory, secret


def test_objects_of_an_earlier_version_do_not_lead_out(earlier: tuple[Path, Path]) -> None:
    directory, secret = earlier
    with running_server(directory) as server:
        http = Http(server)
        for sql in ("SELECT * FROM old", "SELECT * FROM older", f"SELECT oldest('{secret}')"):
            reply = http.post(sql)
            assert reply.status >= 400, reply.text
            assert _SECRET not in reply.text
        assert http.ask("SELECT a FROM fine") == "5"
        log = server.end_of_log()
        for name in ("VIEW `test`.`old`", "TABLE `test`.`older`", "FUNCTION `oldest`"):
            assert name.removeprefix("VIEW ") in log
        for sql in ("DROP VIEW IF EXISTS old", "DROP TABLE IF EXISTS older", "DROP FUNCTION IF EXISTS oldest"):
            http.ask(sql)
    assert secret.read_text() == f"{_SECRET}\n"


_WITHOUT_WALL = """
import sys
from pathlib import Path
from embedded_clickhouse.engine import Engine
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.strays import put_strays_aside
with Engine.open(Path(sys.argv[1])) as engine:
    print(put_strays_aside(engine, is_walled=False))
    for name in ("test.old", "test.older"):
        try:
            print(engine.execute("SELECT * FROM " + name))
        except EngineError as error:
            print(error.code)
    print(engine.execute("SELECT a FROM test.fine"))
"""


def test_where_nothing_else_stops_them_they_are_put_aside(earlier: tuple[Path, Path]) -> None:
    directory, _ = earlier
    command = [sys.executable, "-c", _WITHOUT_WALL, str(directory)]
    output = subprocess.run(command, cwd=SOURCE, check=True, timeout=60, capture_output=True, text=True).stdout
    assert output.splitlines() == [
        "['TABLE `test`.`old`', 'TABLE `test`.`older`', 'FUNCTION `oldest`']",
        *("60", "60"),
        "5",
    ]
