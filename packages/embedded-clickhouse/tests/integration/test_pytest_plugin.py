"""The pytest plugin, in projects of strangers: folders of their own.

How an installed package brings it without being named is in ``test_distribution.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from clickhouse_testkit.source import SOURCE
from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.testing import QueryError, running_server

# Written into each project: a stranger's tests need no client of this project.
_ASK = """
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


def ask(server, sql):
    account = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}
    query = urllib.parse.urlencode({"database": server.database})
    url = f"http://{server.host}:{server.http_port}/?{query}"
    with urllib.request.urlopen(urllib.request.Request(url, sql.encode(), account), timeout=30) as reply:
        return reply.read().decode().strip()


def note(what):
    with Path(__file__).with_name("notes").open("a") as notes:
        notes.write(f"{what}\\n")
"""


@dataclass(frozen=True)
class Project:
    """A stranger's project.

    :param folder: its folder, outside of this checkout.
    :param temporary: where its processes put temporary files.
    """

    folder: Path
    temporary: Path

    def write(self, *, conftest: str = "", **modules: str) -> None:
        """Write test modules by name, and conftest.py."""
        (self.folder / "conftest.py").write_text(textwrap.dedent(conftest))
        (self.folder / "asking.py").write_text(_ASK)
        for name, text in modules.items():
            (self.folder / f"{name}.py").write_text("from asking import ask, note\n" + textwrap.dedent(text))

    def command(self, *arguments: str) -> list[str]:
        """The command that runs its tests."""
        # Temporary files of pytest itself are none of the plugin's.
        plugins = ["embedded_clickhouse.pytest_plugin", "no:cacheprovider", "xdist"]
        own = [*(f"-p{plugin}" for plugin in plugins), "--basetemp", str(self.folder / "basetemp"), "-rA"]
        return [sys.executable, "-m", "pytest", *own, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """Where its processes find the plugin, and no other plugin of this environment."""
        own = {"PYTHONPATH": str(SOURCE), "TMPDIR": str(self.temporary), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return {**os.environ, **own, "COLUMNS": "200"}

    def run(self, *arguments: str) -> tuple[dict[str, int], str]:
        """Run its tests. Returns how many passed, failed and so on, and what pytest wrote."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        words = done.stdout.strip().rsplit("\n", 1)[-1].strip("= ").split()
        counts = {name.strip(","): int(number) for number, name in pairwise(words) if number.isdigit()}
        return counts, done.stdout + done.stderr

    def notes(self) -> list[str]:
        """What its tests wrote down."""
        return (self.folder / "notes").read_text().splitlines()

    def check_nothing_is_left(self) -> None:
        """No temporary folder, and none of the processes that its tests noted as ``pid``."""
        assert list(self.temporary.iterdir()) == []
        pids = [int(note.split()[1]) for note in self.notes() if note.startswith("pid ")]
        assert pids
        assert [pid for pid in pids if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Whether there is a process with this id; one that only waits to be reaped does not run."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder, temporary = tmp_path / "stranger", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    return Project(folder, temporary)


def test_tests_share_a_server_and_each_has_an_empty_database_of_its_own(project: Project) -> None:
    project.write(
        test_one="""
        import pytest

        @pytest.fixture(autouse=True)
        def noted(embedded_clickhouse_server):
            note(f"pid {embedded_clickhouse_server.pid}")

        @pytest.mark.parametrize("number", range(3))
        def test_table(embedded_clickhouse, number):
            assert ask(embedded_clickhouse, "SHOW TABLES") == ""
            ask(embedded_clickhouse, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
            ask(embedded_clickhouse, f"INSERT INTO t VALUES ({number})")
            assert ask(embedded_clickhouse, "SELECT a FROM t") == str(number)
            note(f"database {embedded_clickhouse.database}")

        def test_dropped_by_itself(embedded_clickhouse):
            ask(embedded_clickhouse, f"DROP DATABASE {embedded_clickhouse.database}")

        def test_strange_name_ÄÖÜ(embedded_clickhouse):
            assert ask(embedded_clickhouse, "SELECT currentDatabase()") == embedded_clickhouse.database
        """,
        test_two="""
        def test_databases_are_gone(embedded_clickhouse_server):
            note(f"pid {embedded_clickhouse_server.pid}")
            left = "SELECT count() FROM system.databases WHERE name LIKE 'test_table%'"
            note("left " + ask(embedded_clickhouse_server, left))
        """,
    )
    counts, output = project.run()
    assert counts == {"passed": 6}, output
    notes = project.notes()
    assert len({note for note in notes if note.startswith("pid ")}) == 1
    databases = [note.split()[1] for note in notes if note.startswith("database ")]
    assert len(set(databases)) == 3
    assert all(name.startswith("test_table_") for name in databases)
    assert "left 0" in notes
    project.check_nothing_is_left()


def test_both_protocols_of_the_database_lead_to_the_same_data(project: Project) -> None:
    project.write(
        test_clients="""
        import clickhouse_connect
        import clickhouse_driver

        def test_clients(embedded_clickhouse):
            note(f"pid {embedded_clickhouse.pid}")
            with clickhouse_driver.Client(**embedded_clickhouse.native_arguments()) as native:
                native.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
                native.execute("INSERT INTO t VALUES", [(1,), (2,)])
            with clickhouse_connect.get_client(**embedded_clickhouse.http_arguments()) as client:
                assert client.query("SELECT sum(a) FROM t").result_rows == [(3,)]
        """
    )
    counts, output = project.run()
    assert counts == {"passed": 1}, output
    project.check_nothing_is_left()


def test_a_test_may_kill_a_server_of_its_own_and_the_shared_one_goes_on(project: Project) -> None:
    project.write(
        test_kill="""
        import os
        import signal

        def test_kills(embedded_clickhouse_own_server):
            note(f"pid {embedded_clickhouse_own_server.pid}")
            os.kill(embedded_clickhouse_own_server.pid, signal.SIGKILL)
            assert embedded_clickhouse_own_server.process.wait(10) == -signal.SIGKILL

        def test_another_one(embedded_clickhouse_own_server, embedded_clickhouse):
            note(f"pid {embedded_clickhouse_own_server.pid}")
            note(f"pid {embedded_clickhouse.pid}")
            assert embedded_clickhouse_own_server.pid != embedded_clickhouse.pid
            ask(embedded_clickhouse_own_server, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
            assert ask(embedded_clickhouse, "SHOW TABLES") == ""
        """
    )
    counts, output = project.run()
    assert counts == {"passed": 2}, output
    assert len(set(project.notes())) == 3
    project.check_nothing_is_left()


def test_who_kills_the_shared_server_is_named_and_the_others_say_why_they_fail(project: Project) -> None:
    project.write(
        test_kill="""
        import os
        import signal

        def test_culprit(embedded_clickhouse):
            note(f"pid {embedded_clickhouse.pid}")
            os.kill(embedded_clickhouse.pid, signal.SIGKILL)

        def test_victim(embedded_clickhouse):
            raise AssertionError("not reached")

        def test_with_a_server_of_its_own(embedded_clickhouse_own_server):
            assert ask(embedded_clickhouse_own_server, "SELECT 1") == "1"
        """
    )
    counts, output = project.run()
    assert counts == {"passed": 2, "errors": 2}, output
    ended = f"(pid {project.notes()[0].split()[1]}) ended"
    assert (
        f"ERROR test_kill.py::test_culprit - Failed: The ClickHouse server that the tests share {ended} during"
        in output
    )
    assert (
        f"ERROR test_kill.py::test_victim - Failed: The ClickHouse server that the tests share {ended} before" in output
    )
    assert "with status -9. A test that ends its server needs one of its own" in output
    assert "Traceback" not in output
    project.check_nothing_is_left()


def test_a_server_that_cannot_start_is_an_error_in_its_own_words(project: Project) -> None:
    project.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def embedded_clickhouse_options():
            return {"timezone": "Mars/Base"}
        """,
        test_start="""
        import os

        note(f"pid {os.getpid()}")

        def test_shared(embedded_clickhouse_server): ...

        def test_database(embedded_clickhouse): ...

        def test_own(embedded_clickhouse_own_server): ...

        def test_without(): ...
        """,
    )
    counts, output = project.run()
    assert counts == {"passed": 1, "errors": 3}, output
    for name in ("shared", "database", "own"):
        error = f"ERROR test_start.py::test_{name} - Failed: The ClickHouse server did not start (exit 1): "
        assert error + "Code: 36. DB::Exception: Unknown time zone 'Mars/Base'" in output
    assert "Traceback" not in output
    project.check_nothing_is_left()


def test_options_of_a_project_reach_both_kinds_of_server(project: Project) -> None:
    project.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def embedded_clickhouse_options():
            return {
                "timezone": "Asia/Kathmandu",
                "user": "somebody",
                "password": "s 'p",
                "database": "first",
                "config": "[limits]\\nmax_request_bytes = 100",
            }
        """,
        test_options="""
        import urllib.error

        import pytest

        @pytest.mark.parametrize("fixture", ["embedded_clickhouse_server", "embedded_clickhouse_own_server"])
        def test_options(request, fixture):
            server = request.getfixturevalue(fixture)
            note(f"pid {server.pid}")
            assert (server.user, server.database) == ("somebody", "first")
            assert ask(server, "SELECT timezone(), currentDatabase()") == "Asia/Kathmandu\\tfirst"
            ask(server, "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(server, "INSERT INTO t FORMAT TSV\\n" + 200 * "x")
            assert "307" in refused.value.read().decode()

        def test_password_is_not_shown(embedded_clickhouse_server):
            assert "s 'p" not in repr(embedded_clickhouse_server)
        """,
    )
    counts, output = project.run()
    assert counts == {"passed": 3}, output
    project.check_nothing_is_left()


def test_a_fixture_of_the_same_name_in_the_project_wins(project: Project) -> None:
    project.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def embedded_clickhouse_server():
            return "the project's own"
        """,
        test_clash="""
        def test_clash(embedded_clickhouse_server):
            assert embedded_clickhouse_server == "the project's own"
        """,
    )
    counts, output = project.run()
    assert counts == {"passed": 1}, output


@pytest.mark.parametrize("arguments", [("-n", "2"), ("-n", "2", "--dist", "loadfile"), ("test_b.py", "test_a.py")])
def test_any_order_and_any_number_of_processes_will_do(project: Project, arguments: tuple[str, ...]) -> None:
    module = """
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_same_name(embedded_clickhouse, number):
        note(f"pid {embedded_clickhouse.pid}")
        ask(embedded_clickhouse, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
        assert ask(embedded_clickhouse, "SELECT count() FROM t") == "0"
    """
    project.write(test_a=module, test_b=module)
    counts, output = project.run(*arguments)
    assert counts["passed"] == 12, output
    assert not counts.keys() & {"failed", "errors", "error"}, output
    project.check_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_test_process_that_is_killed_leaves_no_server(project: Project, number: signal.Signals) -> None:
    project.write(
        test_hang="""
        import threading

        def test_hangs(embedded_clickhouse_server, embedded_clickhouse_own_server):
            note(f"pid {embedded_clickhouse_server.pid}")
            note(f"pid {embedded_clickhouse_own_server.pid}")
            note("all")
            threading.Event().wait()
        """
    )
    notes = project.folder / "notes"
    with subprocess.Popen(
        project.command(), cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL
    ) as running:
        try:
            eventually(lambda: notes.exists() and "all" in project.notes())
        finally:
            running.send_signal(number)
    pids = [int(note.split()[1]) for note in project.notes()[:2]]
    assert len(set(pids)) == 2
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_a_folder_may_be_given_relative_to_where_the_tests_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with running_server(Path("data") / "of_mine") as server:
        assert server.log_path == tmp_path / "data" / "of_mine" / "server.log"
        assert (tmp_path / "data" / "of_mine" / "data").is_dir()
        assert f"pid {server.pid}" in server.end_of_log()


def test_a_statement_is_asked_by_any_account_and_its_error_is_the_servers(tmp_path: Path) -> None:
    with running_server(tmp_path, user="사용자", password="비밀:번호", database="자료") as server:
        assert server.query("SELECT currentDatabase(), ' x '") == "자료\t x "
        assert server.query("CREATE TABLE t (a UInt8) ENGINE = Memory") == ""
        with pytest.raises(QueryError, match=r"^Code: 60\. DB::Exception: .*nowhere"):
            server.query("SELECT * FROM nowhere")
