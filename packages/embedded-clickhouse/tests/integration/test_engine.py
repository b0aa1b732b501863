"""The engine in this process: statements, results in chunks, inserts, settings, cancelling."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.config import EngineConfig
from embedded_clickhouse.engine import Engine, EngineSession
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.sessions import SessionStore
from embedded_clickhouse.statements import ResultStream, Ticket, open_insert, open_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LONG = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
_BLOCK_ROWS = 1_048_449  # The engine stores a block of this many rows before an insert ends.


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    zone = os.environ.get("TZ")
    with Engine.open(tmp_path_factory.mktemp("engine"), timezone="UTC") as opened:
        yield opened
    # The engine has its time zone for good, but the rest of this process must not.
    if zone is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = zone
    time.tzset()


@pytest.fixture
def session(engine: Engine) -> Iterator[EngineSession]:
    with engine.session(keep=True) as opened:
        yield opened


@pytest.fixture
def table(session: EngineSession, request: pytest.FixtureRequest) -> Iterator[str]:
    name = "".join(character if character.isalnum() else "_" for character in request.node.name)
    ask(session, f"CREATE TABLE {name} (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    yield name
    ask(session, f"DROP TABLE {name} SYNC")


def ask(
    session: EngineSession,
    sql: str | bytes,
    *,
    settings: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    database: str | None = None,
) -> str:
    """The result of a statement as tab-separated text."""
    with open_result(
        session, sql, "TSV", query_id="ask", settings=settings, parameters=parameters, database=database
    ) as result:
        return b"".join(result).decode().removesuffix("\n")


def count(session: EngineSession, table: str) -> int:
    return int(ask(session, f"SELECT count() FROM {table}"))


def test_a_large_result_comes_in_blocks_and_is_counted(session: EngineSession) -> None:
    with open_result(session, "SELECT number FROM numbers(300000)", "RowBinary", query_id="blocks") as result:
        sizes = [len(chunk) for chunk in result]
    assert len(sizes) > 1
    assert sum(sizes) == 300_000 * 8
    assert (result.stats.result_rows, result.stats.read_rows) == (300_000, 300_000)
    assert result.stats.result_bytes == sum(sizes)
    assert result.stats.elapsed_seconds > 0


@pytest.mark.parametrize(
    ("sql", "fmt", "settings"),
    [
        ("SELECT number FROM numbers(300000)", "CSVWithNames", {}),
        ("SELECT number FROM numbers(300000)", "JSONEachRow", {"output_format_json_array_of_rows": "1"}),
        ("SHOW DATABASES", "TSV", {}),
    ],
)
def test_a_result_that_cannot_be_cut_comes_as_one(
    session: EngineSession, sql: str, fmt: str, settings: dict[str, str]
) -> None:
    with open_result(session, sql, fmt, query_id="whole", settings=settings) as result:
        assert not result.is_streaming
        assert len(list(result)) == 1


def test_an_error_before_the_first_row_is_raised_at_once(session: EngineSession) -> None:
    with pytest.raises(EngineError) as caught:
        open_result(session, "SELECT * FROM missing", "TSV", query_id="missing")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    assert ask(session, "SELECT 1") == "1"


def test_an_error_in_the_middle_comes_from_the_stream(session: EngineSession) -> None:
    sql = "SELECT throwIf(number = 5000000) FROM numbers(10000000) SETTINGS max_threads = 1"
    with open_result(session, sql, "RowBinary", query_id="middle") as result:
        assert len(next(result)) > 0
        with pytest.raises(EngineError) as caught:
            list(result)
    assert caught.value.code == 395
    assert ask(session, "SELECT 1") == "1"


def test_leaving_a_stream_early_frees_the_connection(session: EngineSession, engine: Engine) -> None:
    with open_result(session, "SELECT number FROM numbers(100000000)", "Native", query_id="early") as result:
        next(result)
    assert ask(session, "SELECT 1") == "1"
    assert engine.statements.running() == []


def test_text_that_is_no_statement_is_a_syntax_error(session: EngineSession) -> None:
    with pytest.raises(EngineError) as caught:
        ask(session, "selec nope")
    assert caught.value.code == 62


def test_a_statement_need_not_be_utf8(session: EngineSession) -> None:
    assert ask(session, b"SELECT hex('\xff')") == "FF"
    with pytest.raises(EngineError) as caught:
        ask(session, b"SELECT '\xff' FROM missing")
    assert caught.value.code == 60


def test_parameters_are_values_and_never_sql(session: EngineSession) -> None:
    text = "o'k` \\\\ {y:String} -- \\t"
    sql = "SELECT hex({x:String}), {n:UInt8} + 1, toTypeName({i:Identifier}) FROM (SELECT 1 AS c)"
    expected = b"o'k` \\ {y:String} -- \t".hex().upper()
    assert ask(session, sql, parameters={"x": text, "n": "41", "i": "c"}) == f"{expected}\t42\tUInt8"


def test_settings_hold_for_one_query_of_a_kept_connection(session: EngineSession) -> None:
    asked = "SELECT getSetting('max_threads'), getSetting('max_block_size')"
    before = ask(session, asked)
    assert ask(session, asked, settings={"max_threads": "7", "max_block_size": "123"}) == "7\t123"
    assert ask(session, asked) == before
    ask(session, "SET max_threads = 5")
    assert ask(session, asked, settings={"max_threads": "7"}).startswith("7\t")
    assert ask(session, asked).startswith("5\t")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"no_such_setting": "1"}, 115),
        ({"max_threads = 1, max_block_size": "1"}, 115),
        ({"max_threads": "many"}, 27),
        ({"max_threads": "1, max_block_size = 5"}, 27),
        ({"readonly": "yes"}, 36),
    ],
)
def test_a_bad_setting_is_an_error_and_changes_nothing(
    session: EngineSession, settings: dict[str, str], code: int
) -> None:
    before = ask(session, "SELECT name, value FROM system.settings WHERE changed ORDER BY name")
    with pytest.raises(EngineError) as caught:
        ask(session, "SELECT 1", settings=settings)
    assert caught.value.code == code
    assert ask(session, "SELECT name, value FROM system.settings WHERE changed ORDER BY name") == before


def test_a_database_holds_for_one_query_unless_it_is_used(session: EngineSession) -> None:
    ask(session, "CREATE DATABASE IF NOT EXISTS `other ``db`")
    assert ask(session, "SELECT currentDatabase()", database="other `db") == "other `db"
    assert ask(session, "SELECT currentDatabase()") == "default"
    ask(session, "USE system")
    assert ask(session, "SELECT currentDatabase()") == "system"
    with pytest.raises(EngineError) as caught:
        ask(session, "SELECT 1", database="missing")
    assert caught.value.code == 81


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE x (a Int8) ENGINE = Memory", "DROP DATABASE system", "SYSTEM FLUSH LOGS"]
)
def test_read_only_refuses_changes_and_ends_with_its_query(session: EngineSession, sql: str) -> None:
    with pytest.raises(EngineError) as caught:
        ask(session, sql, settings={"readonly": "2"})
    assert caught.value.code == 164
    assert ask(session, "SELECT 1", settings={"readonly": "1", "max_threads": "1"}) == "1"
    ask(session, "SYSTEM FLUSH LOGS")


def test_temporary_tables_live_as_long_as_their_connection(engine: Engine, session: EngineSession) -> None:
    ask(session, "CREATE TEMPORARY TABLE mine (a UInt8)")
    assert ask(session, "SELECT count() FROM mine") == "0"
    with engine.session() as other, pytest.raises(EngineError, match="mine"):
        ask(other, "SELECT count() FROM mine")


def test_an_insert_is_stored_by_its_commit(session: EngineSession, table: str) -> None:
    with open_insert(session, f"INSERT INTO {table} (a, b)", "CSV", query_id="insert") as insert:
        for piece in (b"1,", b"x\n2", b",y\n"):
            insert.append(piece)
        assert count_elsewhere(session, table) == 0
        stats = insert.commit()
    assert (stats.written_rows, stats.written_bytes > 0) == (2, True)
    assert ask(session, f"SELECT groupArray((a, b)) FROM {table}") == "[(1,'x'),(2,'y')]"


def count_elsewhere(session: EngineSession, table: str) -> int:
    with session.engine.session() as other:
        return count(other, table)


def test_an_insert_left_without_commit_stores_nothing_however_large(session: EngineSession, table: str) -> None:
    rows = b"".join(b"%d,x\n" % number for number in range(_BLOCK_ROWS // 4))
    with open_insert(session, f"INSERT INTO {table} (a, b)", "CSV", query_id="left") as insert:
        for _ in range(10):
            insert.append(rows)
    assert count(session, table) == 0
    assert list(session.engine.spool_dir.iterdir()) == []


def test_a_large_insert_is_stored_whole(session: EngineSession, table: str) -> None:
    rows = b"".join(b"%d,x\n" % number for number in range(_BLOCK_ROWS // 4))
    with open_insert(session, f"INSERT INTO {table} (a, b)", "CSV", query_id="large") as insert:
        for _ in range(10):
            insert.append(rows)
        insert.commit()
    assert count(session, table) == 10 * (_BLOCK_ROWS // 4)


class _FullDisk:
    """A spool file whose disk takes so much, and no more."""

    def __init__(self, file: Any, room: int, error: int) -> None:
        self._file = file
        self._room = room
        self._error = error
        self.name = file.name

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            self._fail()
        return int(self._file.write(data))

    def flush(self) -> None:
        self._fail()

    def close(self) -> None:
        self._file.close()
        self._fail()

    def _fail(self) -> None:
        raise OSError(self._error, os.strerror(self._error))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("room", [0, 100, 1_000_000])
def test_an_insert_without_room_for_its_data_has_the_error_of_a_server(
    session: EngineSession, table: str, room: int, error: int
) -> None:
    insert = open_insert(session, f"INSERT INTO {table} (a, b)", "CSV", query_id="full")
    insert._spool = _FullDisk(insert._spool, room, error)  # type: ignore[assignment]

    def store() -> None:
        for number in range(50):
            insert.append(b"%d,x\n" % number)
        insert.commit()

    with insert, pytest.raises(EngineError) as caught:
        store()
    assert (caught.value.code, caught.value.name) == (243, "NOT_ENOUGH_SPACE")
    assert os.strerror(error) in caught.value.message
    assert count(session, table) == 0
    assert session.engine.statements.running() == []
    assert list(session.engine.spool_dir.iterdir()) == []


def test_another_fault_of_the_disk_stays_what_it_is(session: EngineSession, table: str) -> None:
    insert = open_insert(session, f"INSERT INTO {table} (a, b)", "CSV", query_id="broken")
    insert._spool = _FullDisk(insert._spool, 0, errno.EIO)  # type: ignore[assignment]
    with insert, pytest.raises(OSError, match="Input/output error"):
        insert.append(b"1,x\n")
    assert session.engine.statements.running() == []


@pytest.mark.parametrize(("fmt", "data"), [("CSV", b"1,x\ntwo,y\n"), ("JSONEachRow", b'{"a":1}{"a":')])
def test_malformed_data_is_an_error_and_stores_nothing(
    session: EngineSession, table: str, fmt: str, data: bytes
) -> None:
    insert = open_insert(session, f"INSERT INTO {table} (a, b)", fmt, query_id="malformed")
    insert.append(data)
    with pytest.raises(EngineError):
        insert.commit()
    assert count(session, table) == 0


@pytest.mark.parametrize(
    ("fmt", "data", "message"),
    [
        ("TSV", b"1\tb\nx\tc\n", r"Cannot parse input: expected .* \(at row 2\).*: While executing \w+"),
        ("Native", b"\x01\x01\x01a\x06UInt32", r"Cannot read all data in NativeReader\. .*: While executing Native"),
        ("Values", b"(1,2", r"Expected '\)' after the value of column .*: While executing ValuesBlockInputFormat"),
    ],
)
def test_an_error_in_the_data_is_told_once_and_names_no_file(
    session: EngineSession, table: str, fmt: str, data: bytes, message: str
) -> None:
    with open_insert(session, f"INSERT INTO {table}", fmt, query_id="x") as stream:
        stream.append(data)
        with pytest.raises(EngineError) as caught:
            stream.commit()
    assert re.fullmatch(message, caught.value.message, re.DOTALL)
    assert "spool" not in str(caught.value)
    assert str(caught.value).count("DB::Exception") == 1


@pytest.mark.parametrize(
    ("target", "fmt", "code"),
    [("missing", "CSV", 60), ("{table} (nope)", "CSV", 16), ("{table}", "Nope", 73), ("{table}; DROP", "CSV", 62)],
)
def test_a_wrong_insert_is_an_error_before_any_data(
    session: EngineSession, table: str, target: str, fmt: str, code: int
) -> None:
    with pytest.raises(EngineError) as caught:
        open_insert(session, f"INSERT INTO {target.format(table=table)}", fmt, query_id="target")
    assert caught.value.code == code
    assert ask(session, "SELECT 1") == "1"


def test_parameters_name_the_target_of_an_insert(session: EngineSession, table: str) -> None:
    sql = "INSERT INTO {t:Identifier} (a)"
    with open_insert(session, sql, "Values", query_id="named", parameters={"t": table}) as insert:
        insert.append(b"(1), (1 + 1);")
        insert.commit()
    assert count(session, table) == 2


@pytest.mark.parametrize("sql", [_LONG, _LONG + " SETTINGS log_comment = 'its own'"])
def test_a_running_statement_is_found_and_killed(engine: Engine, session: EngineSession, sql: str) -> None:
    errors: list[EngineError] = []

    def run() -> None:
        try:
            open_result(session, sql, "TSV", query_id="long")
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: [statement.query_id for statement in engine.statements.running()] == ["long"])
    assert engine.statements.kill("long")
    thread.join(10)
    assert [error.code for error in errors] == [394]
    assert engine.statements.running() == []
    assert not engine.statements.kill("long")


@contextmanager
def failing(session: EngineSession, query_id: str, sql: str = f"SELECT ({_LONG}) AS a") -> Iterator[list[EngineError]]:
    """A statement that is described, by default for long, and then runs, for long; its errors, once it has ended."""
    errors: list[EngineError] = []

    def run() -> None:
        try:
            open_result(session, sql, "Native", query_id=query_id, describe=True)
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
        thread.join(10)
        assert not thread.is_alive(), "it was not killed"
    finally:
        session.engine.statements.kill(query_id)
        thread.join(10)


def test_whoever_sees_a_described_statement_running_can_kill_it(engine: Engine, session: EngineSession) -> None:
    """What describes it ends by itself, and is not taken for the statement: a kill of it would miss that."""
    with failing(session, "described") as errors, engine.session() as other:
        as_seen = "SELECT query FROM system.processes WHERE Settings['log_comment'] = 'described'"
        describing = "SELECT count() FROM system.processes WHERE startsWith(query, 'DESCRIBE')"
        eventually(lambda: ask(other, describing) == "1")
        assert ask(other, as_seen) == ""
        eventually(lambda: ask(other, as_seen) != "")
        assert ask(other, as_seen).startswith("SELECT")
        ask(other, "KILL QUERY WHERE Settings['log_comment'] = 'described' SYNC")
    assert [error.code for error in errors] == [394]


def test_a_statement_is_killed_with_what_describes_it(engine: Engine, session: EngineSession) -> None:
    with failing(session, "all") as errors, engine.session() as other:
        of_all = "query LIKE '%1000000000000%' AND query NOT LIKE '%system.processes%'"
        eventually(lambda: ask(other, f"SELECT count() FROM system.processes WHERE {of_all}") == "1")
        ask(other, f"KILL QUERY WHERE {of_all} SYNC")
    assert [error.code for error in errors] == [394]


def test_a_kill_waits_for_a_statement_that_is_being_described(
    engine: Engine, session: EngineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever found it by its text, which stands in the description's, kills it by its id."""
    describing, go_on = threading.Event(), threading.Event()
    described = ResultStream._described

    def slowly(self: ResultStream, *arguments: Any) -> Any:
        describing.set()
        assert go_on.wait(10)
        return described(self, *arguments)

    monkeypatch.setattr(ResultStream, "_described", slowly)
    with failing(session, "slow", _LONG) as errors, engine.session() as other:
        assert describing.wait(10)
        kill = "KILL QUERY WHERE Settings['log_comment'] = 'slow' SYNC"
        killing = threading.Thread(target=ask, args=(other, kill))
        killing.start()
        eventually(lambda: kill in [statement.sql for statement in engine.statements.running()])
        go_on.set()
        killing.join(10)
        assert not killing.is_alive()
    assert [error.code for error in errors] == [394]


def test_a_kill_spares_others_that_run_the_same_text(engine: Engine, session: EngineSession) -> None:
    def run() -> None:
        with pytest.raises(EngineError, match="cancelled"):
            open_result(session, _LONG, "TSV", query_id="kept")

    thread = threading.Thread(target=run)
    thread.start()
    with engine.session() as other:
        running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'kept'"
        eventually(lambda: ask(other, running) == "1")
        # As a statement that is cancelled before the engine has begun with it.
        assert not engine.statements._kill_in_engine(Ticket("not begun", _LONG, None, None, None))
        assert ask(other, running + " AND NOT is_cancelled") == "1"
    engine.statements.kill("kept")
    thread.join(10)


def test_a_stream_is_cancelled_from_another_thread(session: EngineSession) -> None:
    with open_result(session, "SELECT number FROM numbers(1000000000000)", "Native", query_id="cancel") as result:
        next(result)
        thread = threading.Thread(target=result.cancel)
        thread.start()
        with pytest.raises(EngineError) as caught:
            for _ in result:
                pass
        thread.join(10)
    assert caught.value.code == 394


def test_a_cancelled_insert_takes_no_more_data(session: EngineSession, table: str) -> None:
    with open_insert(session, f"INSERT INTO {table} (a)", "CSV", query_id="stop") as insert:
        insert.append(b"1\n")
        insert.cancel()
        with pytest.raises(EngineError) as caught:
            insert.commit()
    assert caught.value.code == 394
    assert count(session, table) == 0


def test_a_query_id_is_unique_among_running_statements(engine: Engine, session: EngineSession) -> None:
    with open_result(session, "SELECT number FROM numbers(100000000)", "Native", query_id="same") as result:
        next(result)
        with engine.session() as other, pytest.raises(EngineError) as caught:
            open_result(other, "SELECT 1", "TSV", query_id="same")
        assert caught.value.code == 216
    with open_result(session, "SELECT 1", "TSV", query_id="same") as result:
        assert list(result) == [b"1\n"]


def test_progress_is_reported_while_a_statement_runs(session: EngineSession) -> None:
    reports = []
    sql = "SELECT count() FROM numbers(1000000000) WHERE sipHash64(number) = 1 SETTINGS max_execution_time = 0.4"
    with pytest.raises(EngineError) as caught:
        open_result(session, sql, "TSV", query_id="progress", on_progress=reports.append)
    assert caught.value.code == 159
    assert reports
    assert 0 < reports[0].read_rows <= reports[-1].read_rows < reports[-1].total_rows_to_read


def test_connections_run_side_by_side(engine: Engine) -> None:
    def sleep(number: int) -> None:
        with engine.session() as own, open_result(own, "SELECT sleep(1)", "TSV", query_id=f"sleep {number}") as result:
            list(result)

    threads = [threading.Thread(target=sleep, args=(number,)) for number in range(8)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - started < 4


def test_queries_are_logged_under_the_clients_id_and_nothing_else_is(engine: Engine, session: EngineSession) -> None:
    with (
        engine.session() as own,
        open_result(own, "SELECT 7", "TSV", query_id="a task", settings={"max_threads": "1"}) as run,
    ):
        list(run)
    ask(session, "SYSTEM FLUSH LOGS")
    sql = "SELECT type, query, log_comment FROM system.query_log WHERE query LIKE '%a task%' OR log_comment = 'a task'"
    assert ask(session, sql + " ORDER BY type") == "QueryStart\tSELECT 7\ta task\nQueryFinish\tSELECT 7\ta task"


def test_a_session_of_the_store_ends_after_its_timeout(engine: Engine) -> None:
    now = 0.0
    store = SessionStore(engine, clock=lambda: now)
    ask(store.acquire("s", timeout=60, must_exist=False), "CREATE TEMPORARY TABLE mine (a UInt8)")
    now = 100.0  # In use, however long.
    store.close_expired()
    store.release("s")
    now = 159.0
    assert ask(store.acquire("s", timeout=60, must_exist=True), "SELECT count() FROM mine") == "0"
    store.release("s")
    now = 219.0
    with pytest.raises(EngineError) as caught:
        store.acquire("s", timeout=60, must_exist=True)
    assert caught.value.code == 372


def test_a_session_in_use_is_ended_by_its_release(engine: Engine) -> None:
    store = SessionStore(engine)
    session = store.acquire("s", timeout=60, must_exist=False)
    store.close_all()
    assert ask(session, "SELECT 1") == "1"
    store.release("s")
    with pytest.raises(EngineError, match="not found"):
        store.acquire("s", timeout=60, must_exist=True)


def test_the_folders_path_is_checked(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="must not contain"):
        Engine.open(tmp_path / "a?b")


@pytest.mark.parametrize(
    "values",
    [{"memory_ratio": 0.0}, {"mark_cache_bytes": -1}, {"max_server_memory_bytes": -1}, {"query_log_days": 0}],
)
def test_the_configuration_is_checked(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        EngineConfig(**values)  # type: ignore[arg-type]
