"""Live traffic: what it is made of, and that each row is sent once whatever the store does."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.statistics.exact_insert import Clock, Ledger, NotSent, Sender, StoreError, UnknownOutcome
from local.statistics.feed import Feed
from local.statistics.sample_data.generator import LOG_TYPE_APPLICATION_START, LOG_TYPE_INSTALL
from local.statistics.sample_data.live import HIGHEST_RATE, KEY_COLUMNS, LATEST_COMMIT_MS, Delivery, LiveTraffic
from local.statistics.sample_data.population import PACKAGES, SERVER_TYPES, SYSTEMS
from local.statistics.sample_data.seeding import PAGE_FLOW, TOTAL_LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from local.statistics.sample_data.live import Key

SEOUL = ZoneInfo("Asia/Seoul")
# A Saturday, so that all packages are there.
START_MS = int(datetime(2026, 11, 21, 12, tzinfo=SEOUL).timestamp()) * 1000
RATE = 200
SECONDS = 700
RESPONSES = (524291, 8388612)


def traffic(start_ms: int = START_MS, seconds: int = 30, **arguments: Any) -> list[list[Delivery]]:
    """One list of deliveries a second."""
    options: dict[str, Any] = {"rate": RATE, "timezone": "Asia/Seoul", **arguments}
    live = LiveTraffic(**options)
    return [live.batch(start_ms + at * 1000, start_ms + at * 1000 + 1000) for at in range(seconds)]


def of_table(batches: Sequence[Sequence[Delivery]], table: str) -> list[Delivery]:
    return [delivery for batch in batches for delivery in batch if delivery.table == table]


def rows_of(batches: Sequence[Sequence[Delivery]], table: str) -> list[dict[str, Any]]:
    deliveries = of_table(batches, table)
    return [dict(zip(one.columns, values, strict=True)) for one in deliveries for values in one.rows()]


@pytest.fixture(scope="module")
def batches() -> list[list[Delivery]]:
    """Long enough for repeats that come ten minutes later."""
    return traffic(seconds=SECONDS)


@pytest.fixture(scope="module")
def pages(batches: list[list[Delivery]]) -> list[dict[str, Any]]:
    return rows_of(batches, PAGE_FLOW)


@pytest.fixture(scope="module")
def logs(batches: list[list[Delivery]]) -> list[dict[str, Any]]:
    return rows_of(batches, TOTAL_LOG)


def keys_by_second(batches: Sequence[Sequence[Delivery]], table: str) -> dict[Key, list[int]]:
    """At which seconds each key is sent."""
    seconds: dict[Key, list[int]] = {}
    for second, batch in enumerate(batches):
        for delivery in batch:
            if delivery.table == table:
                for key in delivery.event_keys():
                    seconds.setdefault(key, []).append(second)
    return seconds


def test_the_same_arguments_and_intervals_give_the_same_rows() -> None:
    assert traffic() == traffic()


@pytest.mark.parametrize("changed", [{"seed": 2}, {"rate": RATE + 1}, {"start_ms": START_MS + 1}])
def test_another_seed_rate_or_instant_gives_events_of_their_own(changed: dict[str, Any]) -> None:
    for table in (PAGE_FLOW, TOTAL_LOG):
        one, other = (keys_by_second(traffic(**arguments), table) for arguments in ({}, changed))
        assert not one.keys() & other.keys()


@pytest.mark.parametrize("rate", [20, 200, 2000.5])
def test_the_rate_holds_for_each_table_over_a_minute(rate: float) -> None:
    # A burst at the end is made up for after it; one row is open at any time.
    batches = traffic(rate=rate, seconds=60)
    for table in (PAGE_FLOW, TOTAL_LOG):
        assert 60 * rate - 1 <= len(rows_of(batches, table)) <= 63 * rate


def test_rows_come_in_bursts(batches: list[list[Delivery]]) -> None:
    for table in (PAGE_FLOW, TOTAL_LOG):
        seconds = [sum(len(delivery) for delivery in batch if delivery.table == table) for batch in batches]
        assert max(seconds) == 3 * RATE
        assert 0.02 < sum(rows == 3 * RATE for rows in seconds) / SECONDS < 0.1


def test_no_insert_holds_two_rows_of_one_key(batches: list[list[Delivery]]) -> None:
    for batch in batches:
        for delivery in batch:
            assert len(set(delivery.event_keys())) == len(delivery) > 0


@pytest.mark.parametrize("table", [PAGE_FLOW, TOTAL_LOG])
def test_a_repeat_has_the_content_of_its_original_and_comes_later(batches: list[list[Delivery]], table: str) -> None:
    originals: dict[Key, tuple[Any, ...]] = {}
    for delivery in of_table(batches, table):
        for key, row in zip(delivery.event_keys(), delivery.rows(), strict=True):
            assert originals.setdefault(key, row) == row
    waits = [seconds[1] - seconds[0] for seconds in keys_by_second(batches, table).values() if len(seconds) == 2]
    assert max(map(len, keys_by_second(batches, table).values())) == 2
    # The late half of the last ten minutes is yet to come.
    assert 0.005 < len(waits) / (RATE * SECONDS) < 0.011
    assert 1 <= min(waits) <= 3
    assert 500 < max(waits) <= 603
    assert 0.3 < sum(wait <= 13 for wait in waits) / len(waits) < 0.8


@pytest.mark.parametrize("table", [PAGE_FLOW, TOTAL_LOG])
def test_few_rows_carry_a_reg_dt_and_none_of_it_is_too_old(batches: list[list[Delivery]], table: str) -> None:
    deliveries = of_table(batches, table)
    assert all("reg_dt" not in delivery.columns for delivery in deliveries)
    stamped = [late for delivery in deliveries if delivery.late_ms for late in delivery.late_ms]
    late = [ms for ms in stamped if ms]
    assert 0.01 < len(late) / (RATE * SECONDS) < 0.03
    assert 0 < min(late) < 1000
    assert 8000 < max(late) <= LATEST_COMMIT_MS
    assert any(rows > 1 for delivery in deliveries for ms, rows in Counter(delivery.late_ms or ()).items() if ms)


def test_a_row_that_is_committed_late_happened_before_its_reg_dt(batches: list[list[Delivery]]) -> None:
    for second, batch in enumerate(batches):
        end_ms = START_MS + (second + 1) * 1000
        for delivery in batch:
            ended = delivery.columns["page_end_tm" if delivery.table == PAGE_FLOW else "log_tm"]
            for instant_ms, late in zip(ended, delivery.late_ms or [0] * len(delivery), strict=True):
                assert instant_ms is None or instant_ms < end_ms - late


def test_events_are_of_now_some_share_a_millisecond_and_a_few_are_minutes_late(batches: list[list[Delivery]]) -> None:
    ages = []
    shared = 0
    for second, batch in enumerate(batches):
        for delivery in batch:
            if delivery.table == TOTAL_LOG and delivery.late_ms is None:
                instants = delivery.columns["log_tm"]
                ages += [START_MS + (second + 1) * 1000 - instant for instant in instants]
                shared += max(Counter(instants).values()) > 3
    assert min(ages) == 1
    assert 0.99 < sum(age <= 1000 for age in ages) / len(ages) < 0.998
    assert 1_000_000 < max(ages) <= 1_201_000
    assert shared > SECONDS / 2


@pytest.mark.parametrize("name", ["pages", "logs"])
def test_all_packages_and_few_missing_dimensions(name: str, request: pytest.FixtureRequest) -> None:
    rows = request.getfixturevalue(name)
    assert {row["package_nm"] for row in rows} == {*PACKAGES, None, "", "  "}
    assert {row["os_type"] for row in rows} == {*SYSTEMS, None, "", "  "}
    assert {row["server_type"] for row in rows} == {*SERVER_TYPES, None}
    awkward = [row for row in rows if row["package_nm"] not in PACKAGES or None in (row["os_type"], row["server_type"])]
    assert 0.002 < len(awkward) / len(rows) < 0.007


def test_pages_fall_into_every_group_that_readers_tell_apart(pages: list[dict[str, Any]]) -> None:
    groups: dict[str, Callable[[Any], bool]] = {
        "missing": lambda ms: ms is None,
        "ignored": lambda ms: ms is not None and ms < 10,
        "limit of the ignored": lambda ms: ms == 10,
        "quick": lambda ms: ms is not None and 10 < ms < 100,
        "start of the band": lambda ms: ms == 100,
        "band": lambda ms: ms is not None and 100 < ms < 1500,
        "end of the band": lambda ms: ms == 1500,
        "slow": lambda ms: ms is not None and ms > 1500,
    }
    shares = {name: sum(map(of, (row["loading_time"] for row in pages))) / len(pages) for name, of in groups.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0.005
    assert shares["band"] > 0.5
    assert {row["wtf_flag"] for row in pages} == {"Y", "N", None}


def test_devices_install_and_start_the_application(pages: list[dict[str, Any]]) -> None:
    types = Counter(row["log_type"] for row in pages)
    assert 0.001 < types[LOG_TYPE_INSTALL] / len(pages) < 0.02
    assert 0.08 < types[LOG_TYPE_APPLICATION_START] / len(pages) < 0.12
    assert types[None] > 0


def test_only_responses_have_a_time_and_some_of_these_are_zero_or_missing(logs: list[dict[str, Any]]) -> None:
    responses = [row["intervaltime"] for row in logs if row["log_type"] in RESPONSES]
    assert {row["log_type"] for row in logs} > set(RESPONSES)
    assert {row["intervaltime"] for row in logs if row["log_type"] not in RESPONSES} == {None}
    for wanted in (None, 0, 1):
        assert responses.count(wanted) > 0.005 * len(responses)
    assert max(ms for ms in responses if ms is not None) > 1500


def test_only_browsers_have_web_vitals(pages: list[dict[str, Any]]) -> None:
    assert {row["lcp"] for row in pages if row["os_type"] in ("Android", "iOS")} == {None}
    assert any(row["lcp"] for row in pages if row["os_type"] == "Web")


def test_after_midnight_pages_were_opened_on_the_day_before() -> None:
    midnight_ms = int(datetime(2026, 11, 22, tzinfo=SEOUL).timestamp()) * 1000
    days: Counter[date] = Counter()
    for row in rows_of(traffic(midnight_ms - 2000, 12), PAGE_FLOW):
        day = datetime.fromtimestamp(row["page_start_tm"] / 1000, UTC).astimezone(SEOUL).date()
        assert date.fromisoformat(row["log_date"]) == day
        assert row["page_start_tm_dt"] == row["page_start_tm"] // 1000
        days[day] += 1
    assert days.keys() == {date(2026, 11, 21), date(2026, 11, 22)}
    assert min(days.values()) > 100


def test_the_values_are_what_json_has(batches: list[list[Delivery]]) -> None:
    delivery = batches[0][0]
    assert json.loads(json.dumps(delivery.columns, allow_nan=False)) == delivery.columns


@pytest.mark.parametrize(("start_ms", "end_ms"), [(1000, 1000), (1000, 999), (0, 10_001)])
def test_an_interval_that_is_empty_or_too_long_is_refused(start_ms: int, end_ms: int) -> None:
    with pytest.raises(ValueError, match="1 to 10000 ms"):
        LiveTraffic().batch(start_ms, end_ms)


@pytest.mark.parametrize("rate", [0, -1, HIGHEST_RATE + 1, float("inf"), float("nan")])
def test_a_rate_that_cannot_be_made_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be above 0"):
        LiveTraffic(rate=rate)


# --- Sending ---


class FakeTime:
    """A clock that moves when someone waits.

    :param ends_at_ms: from then on, the process has been told to end.
    """

    def __init__(self, ends_at_ms: float = float("inf")) -> None:
        self.ms = START_MS
        self.ends_at_ms = ends_at_ms
        self.clock = Clock(now_ms=lambda: self.ms, pause=self.pause)

    def pause(self, seconds: float) -> bool:
        if self.ms < self.ends_at_ms:
            # Not exactly as long as asked for, as real ones.
            self.ms += int(seconds * 1000) + (seconds > 0)
        return self.ms >= self.ends_at_ms


class FakeTables:
    """Tables that keep every row they are sent, and fail as they are told.

    :param failures: what happens at each insert: nothing (None), NotSent, or how many rows are stored before the
        connection breaks.
    :param silent: how many questions after each broken insert get no answer.
    :param busy: to how many of them the insert is said to be at work still; its rows are seen after that.
    """

    def __init__(self, *failures: type[NotSent] | int | None, silent: int = 0, busy: int = 0) -> None:
        self.failures = list(failures)
        self.silent = silent
        self.busy = busy
        self.rows: list[tuple[str, Key, int | None]] = []
        self.inserts = 0
        self.coming: list[tuple[str, Key, int | None]] = []
        self.silent_for = self.busy_for = 0

    def insert(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None, insert_id: str) -> None:
        self.inserts += 1
        rows = self.rows_of(delivery, reg_dt_ms)
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, type):
            raise failure("connection refused")
        if failure is None:
            self.rows += rows
            return
        self.coming = rows[:failure]
        self.silent_for, self.busy_for = self.silent, self.busy
        raise StoreError("connection reset")

    def runs(self, insert_id: str) -> bool:
        if self.silent_for:
            self.silent_for -= 1
            raise StoreError("no answer")
        if self.busy_for:
            self.busy_for -= 1
            return True
        self.rows += self.coming
        self.coming = []
        return False

    def stored(self, delivery: Delivery, reg_dt_ms: Sequence[int] | None) -> set[int]:
        known = set(self.rows)
        if reg_dt_ms is None:
            known = {(table, key, None) for table, key, _ in known}
        return {place for place, row in enumerate(self.rows_of(delivery, reg_dt_ms)) if row in known}

    @staticmethod
    def rows_of(delivery: Delivery, reg_dt_ms: Sequence[int] | None) -> list[tuple[str, Key, int | None]]:
        instants: Sequence[int | None] = reg_dt_ms or [None] * len(delivery)
        return [(delivery.table, key, reg_dt) for key, reg_dt in zip(delivery.event_keys(), instants, strict=True)]


def feed(
    tables: FakeTables, ledger: Path, *, time: FakeTime | None = None, rate: float = RATE
) -> tuple[Feed, Sender, list[str]]:
    said: list[str] = []
    time = time or FakeTime()
    sender = Sender(tables, time.clock, Ledger(ledger), said.append)
    live = LiveTraffic(rate=rate, timezone="Asia/Seoul")
    return Feed(live, sender, time.clock, report=said.append), sender, said


def entries(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]


def ledger_rows(ledger: Path) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for entry in entries(ledger):
        assert entry["rows"] == sum(count for *_, count in entry["counts"]) > 0
        assert entry["sent_at_ms"] <= entry["acknowledged_at_ms"]
        rows[entry["table"]] += entry["rows"]
    return dict(rows)


def sent_rows(seconds: int, rate: float = RATE) -> Counter[tuple[str, Key]]:
    """How often each key is to be stored."""
    batches = traffic(seconds=seconds, rate=rate)
    return Counter((delivery.table, key) for batch in batches for delivery in batch for key in delivery.event_keys())


def check_all_stored_once(tables: FakeTables, ledger: Path, seconds: int, rate: float = RATE) -> None:
    expected = sent_rows(seconds, rate)
    assert Counter((table, key) for table, key, _ in tables.rows) == expected
    by_table = Counter(table for table, _ in expected.elements())
    assert ledger_rows(ledger) == by_table


def test_an_interval_is_sent_each_second_at_its_end(tmp_path: Path) -> None:
    time = FakeTime()
    tables = FakeTables()
    running, sender, _ = feed(tables, tmp_path / "ledger", time=time)

    totals = running.run(10)

    assert START_MS + 10_000 <= time.ms <= START_MS + 10_010
    check_all_stored_once(tables, tmp_path / "ledger", 10)
    assert totals.rows == ledger_rows(tmp_path / "ledger")
    assert sender.totals.repeated == 0
    sent_at = [entry["sent_at_ms"] for entry in entries(tmp_path / "ledger")]
    assert START_MS + 1000 <= sent_at[0] <= START_MS + 1002


def test_the_ledger_says_how_many_rows_of_each_key_are_stored(tmp_path: Path) -> None:
    running, *_ = feed(FakeTables(), tmp_path / "ledger")
    running.run(3)

    expected = Counter(
        (table, row["package_nm"], row["server_type"])
        for table in (PAGE_FLOW, TOTAL_LOG)
        for row in rows_of(traffic(seconds=3), table)
    )
    found: Counter[tuple[str, str, str]] = Counter()
    for entry in entries(tmp_path / "ledger"):
        for package, server_type, rows in entry["counts"]:
            found[entry["table"], package, server_type] += rows
    assert found == expected


def test_rows_that_come_late_are_sent_later_not_left_out(tmp_path: Path) -> None:
    # About a minute in which nothing is reached.
    tables = FakeTables(None, *[NotSent] * 15)
    time = FakeTime()
    running, sender, said = feed(tables, tmp_path / "ledger", time=time)

    running.run(70)

    check_all_stored_once(tables, tmp_path / "ledger", 70)
    assert time.ms < START_MS + 75_000
    assert sender.totals.repeated == 0, "nothing had reached the tables"
    assert "connection refused" in said[0]
    assert said[1].startswith("ClickHouse works again after ")


@pytest.mark.parametrize(
    ("stored", "repeated"), [(0, 1), (7, 1), (10_000, 0)], ids=["nothing stored", "a part stored", "all stored"]
)
def test_an_insert_without_an_answer_is_neither_lost_nor_doubled(tmp_path: Path, stored: int, repeated: int) -> None:
    tables = FakeTables(None, stored, silent=3, busy=2)
    running, sender, _ = feed(tables, tmp_path / "ledger")

    running.run(5)

    check_all_stored_once(tables, tmp_path / "ledger", 5)
    assert sender.totals.repeated == repeated


@settings(max_examples=60, deadline=None)
@given(
    failures=st.lists(st.one_of(st.none(), st.just(NotSent), st.integers(0, 30)), max_size=40),
    silent=st.integers(0, 3),
    busy=st.integers(0, 2),
)
def test_whatever_fails_every_row_is_stored_once(
    tmp_path_factory: pytest.TempPathFactory, failures: list[Any], silent: int, busy: int
) -> None:
    ledger = tmp_path_factory.mktemp("feed") / "ledger"
    tables = FakeTables(*failures, silent=silent, busy=busy)
    running, *_ = feed(tables, ledger, rate=20)

    running.run(12)

    check_all_stored_once(tables, ledger, 12, rate=20)


def test_a_row_with_a_reg_dt_is_stamped_anew_when_it_is_sent_again(tmp_path: Path) -> None:
    delivery = next(one for batch in traffic() for one in batch if one.late_ms)
    tables = FakeTables(0, silent=5)
    time = FakeTime()
    Sender(tables, time.clock, Ledger(tmp_path / "ledger"), lambda line: None).send(delivery)

    assert time.ms > START_MS + 10_000
    # Else it would come later after its reg_dt than any row does.
    stamps = [reg_dt for *_, reg_dt in tables.rows if reg_dt is not None]
    assert len(stamps) == len(delivery)
    assert min(stamps) >= time.ms - LATEST_COMMIT_MS


def test_told_to_end_it_ends_between_two_inserts(tmp_path: Path) -> None:
    time = FakeTime(ends_at_ms=START_MS + 4500)
    tables = FakeTables()
    running, *_ = feed(tables, tmp_path / "ledger", time=time)

    running.run()

    check_all_stored_once(tables, tmp_path / "ledger", 4)


def test_told_to_end_amid_an_outage_nothing_unsent_is_in_the_ledger(tmp_path: Path) -> None:
    time = FakeTime(ends_at_ms=START_MS + 9000)
    tables = FakeTables(None, None, *[NotSent] * 1000)
    running, *_ = feed(tables, tmp_path / "ledger", time=time)

    running.run()

    assert tables.inserts > 5
    assert sum(ledger_rows(tmp_path / "ledger").values()) == len(tables.rows) > 0


def test_told_to_end_without_an_answer_it_says_that_it_does_not_know(tmp_path: Path) -> None:
    time = FakeTime(ends_at_ms=START_MS + 9000)
    tables = FakeTables(None, 5, silent=10_000)
    running, *_ = feed(tables, tmp_path / "ledger", time=time)

    with pytest.raises(UnknownOutcome, match=rf"insert of \d+ rows into {PAGE_FLOW}:"):
        running.run()
    assert sum(ledger_rows(tmp_path / "ledger").values()) == len(tables.rows)


def test_a_line_a_minute_tells_the_rate(tmp_path: Path) -> None:
    tables = FakeTables(None, None, None, 3)
    running, _, said = feed(tables, tmp_path / "ledger")

    running.run(130)

    minutes = [line for line in said if line.startswith("sent ")]
    assert [line.rsplit(", ", 1)[1] for line in minutes] == [
        "1 inserts had to be repeated",
        "0 inserts had to be repeated",
    ]
    assert "page rows and" in minutes[0]
    assert " in 60 s (2" in minutes[0]


@pytest.mark.parametrize("step", [-3, -5, -60, -3600, -86_400 * 2])
def test_a_clock_that_is_set_back_is_followed_and_a_corrected_one_is_waited_for(tmp_path: Path, step: int) -> None:
    time = FakeTime()
    tables = FakeTables()
    running, _, said = feed(tables, tmp_path / "ledger", time=time)
    real = time.pause
    stepped_at = START_MS + 10_000
    stepped: list[int] = []

    def pause(seconds: float) -> bool:
        result = real(seconds)
        if time.ms >= stepped_at and not stepped:
            stepped.append(time.ms)
            time.ms += step * 1000
        return result

    running._clock = Clock(now_ms=lambda: time.ms, pause=pause)
    running.run(40)

    (moment,) = stepped
    # Forty intervals of a second took forty seconds, and the correction's where that was waited for.
    elapsed = time.ms - (moment + step * 1000) + moment - START_MS
    waited = -step if step >= -5 else 0
    assert 40 + waited - 1 <= elapsed / 1000 <= 40 + waited + 2
    told = [line for line in said if "was set back by" in line]
    assert len(told) == (step < -5)
    if step < -5:
        assert f"by {-step - 1:,} s" in told[0] or f"by {-step:,} s" in told[0]
    assert max(Counter(tables.rows).values()) == 1, "no row is sent twice"
    assert len({key for _, key, _ in tables.rows}) > 0.95 * len(tables.rows), "what came after is not what came before"


def test_the_heartbeat_is_touched_by_complete_intervals_alone(tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat"
    for failures, touched in (((NotSent,) * 1000, False), ((), True)):
        time = FakeTime(ends_at_ms=START_MS + 5000)
        sender = Sender(FakeTables(*failures), time.clock, Ledger(None), lambda line: None)
        Feed(LiveTraffic(rate=20), sender, time.clock, report=lambda line: None, heartbeat=heartbeat).run()
        assert heartbeat.exists() is touched


def test_the_log_can_be_had_without_repeats() -> None:
    live = LiveTraffic(rate=RATE, timezone="Asia/Seoul", log_repeats=False)
    keys: Counter[tuple[Any, ...]] = Counter()
    start_ms = 1_795_000_000_000
    for second in range(60):
        for delivery in live.batch(start_ms + second * 1000, start_ms + second * 1000 + 1000):
            columns = (delivery.columns[name] for name in KEY_COLUMNS[delivery.table])
            keys.update((delivery.table, *key) for key in zip(*columns, strict=True))
    twice = Counter(key[0] for key, count in keys.items() if count > 1)
    assert twice["maxy_app_total_log"] == 0
    assert twice["maxy_device_page_flow"] > 0
