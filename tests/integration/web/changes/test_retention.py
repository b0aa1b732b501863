"""Old records of changes go, once a day, with the cleaning of Airflow's own tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from maxy.postgres.connect import connect
from maxy.web.changes.retention import remove_old_audit
from scripts.clean_airflow import clean_audit

if TYPE_CHECKING:
    from tests.integration.web.changes.toys import Shop

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def recorded(shop: Shop) -> Shop:
    """A record a day over the last 30 days, and answers to repeats."""
    with connect(shop.address) as connection:
        connection.execute(
            "INSERT INTO web_audit (at, who, role, method, route, target, request_id, result, status)"
            " SELECT %s - n * interval '1 day', 'a', 'op', 'POST', '/', 'x', n, 'done', 200"
            " FROM generate_series(0, 29) n",
            [NOW],
        )
        connection.execute(
            "INSERT INTO web_idempotency (who, route, key, fingerprint, status, media_type, body, expires_at)"
            " SELECT 'a', '/', n, '', 200, '', '', now() + n * interval '1 hour' FROM generate_series(-3, 2) n"
        )
    return shop


def test_records_from_before_the_moment_go_and_younger_ones_stay(recorded: Shop) -> None:
    before = NOW - timedelta(days=10)
    # Those of exactly ten days ago are no older than that.
    assert remove_old_audit(recorded.address, before, dry_run=True) == 19
    assert remove_old_audit(recorded.address, before, batch_size=5) == 19
    assert recorded.rows("SELECT count(*), min(at) FROM web_audit") == [(11, before)]
    assert remove_old_audit(recorded.address, before) == 0


def test_answers_that_have_expired_go_too(recorded: Shop) -> None:
    remove_old_audit(recorded.address, NOW, dry_run=True)
    assert recorded.rows("SELECT count(*) FROM web_idempotency") == [(6,)]
    remove_old_audit(recorded.address, NOW - timedelta(days=99))
    assert recorded.rows("SELECT key FROM web_idempotency ORDER BY key") == [("1",), ("2",)]


def test_the_daily_cleaning_does_it_where_there_is_a_database(
    recorded: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    address = recorded.address
    environment = {
        "POSTGRES_HOST": address.host,
        "POSTGRES_USER": address.user,
        "POSTGRES_PASSWORD": address.password,
        "POSTGRES_DB": address.database,
    }
    before = NOW - timedelta(days=20)
    assert clean_audit(before, {}, dry_run=False)
    assert capsys.readouterr().out == ""
    assert clean_audit(before, environment, dry_run=True)
    assert capsys.readouterr().out == "audit from before 2026-11-08: 9 records would be removed\n"
    assert clean_audit(before, environment, dry_run=False)
    assert capsys.readouterr().out == "audit from before 2026-11-08: 9 records removed\n"
    assert not clean_audit(before, {**environment, "POSTGRES_PASSWORD": "wrong"}, dry_run=False)
    assert "audit not cleaned" in capsys.readouterr().err
