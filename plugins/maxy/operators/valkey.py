"""Keep a ClickHouse query's result as hashes in Valkey."""

from __future__ import annotations

import shlex
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from maxy._parsing import as_bool, as_log_limit, as_positive_int
from maxy.hooks.environment import VALKEY_CONN_ID
from maxy.hooks.valkey import ValkeyHook
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.valkey.hashes import HashPublisher
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.text import one_line, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Unpack

    from airflow.sdk import Context

    from maxy.hooks.clickhouse import ClickHouseSession, StatementResult
    from maxy.operators._arguments import TemplateArguments
    from maxy.valkey.hashes import Publication

# Without another number: as many keys are logged with their values, and as many bytes for each on average, so that a
# log stays below a megabyte whatever the values are.
_LOGGED_KEYS = 1000
_LOGGED_BYTES_PER_KEY = 700
# A result is read again when somebody has published in between: how often in all.
_ATTEMPTS = 5
# How far two clocks in order may be apart.
_CLOCK_TOLERANCE = timedelta(minutes=1)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Hashes:
    """A query's result as it is written.

    :param keys: the keys.
    :param fields: the names of the fields.
    :param columns: the values field by field, each in the order of the keys.
    """

    keys: Sequence[str]
    fields: Sequence[str]
    columns: Sequence[Sequence[str | None]]

    def line(self, position: int) -> str:
        """Return one key with its values as one line."""
        values = {field: column[position] for field, column in zip(self.fields, self.columns, strict=True)}
        return f"{one_line(self.keys[position])} {values}"


class ClickHouseToValkeyHashOperator(ClickHouseTemplateOperator):
    """Write each row of a query's result as a hash, and remove the keys that are no longer in the result.

    The hashes of one index make a group, which is replaced in one step: readers see all of the former result or all of
    this one. A repeated run leaves the same keys. The result that was read last stays, whatever clocks say: if another
    run has published while this one was reading, this one reads again. A key that holds another type is replaced, named
    in a warning and counted; it stops none of the others.

    Values are text: numbers as they read back exactly, dates and times in ISO 8601 (times in UTC with ``Z``); NULL, NaN
    and infinities leave their field out. ``%`` and ``:`` in a value are percent-encoded in keys, so that two rows never
    share one.

    Returns (XCom) what :class:`ClickHouseTemplateOperator` returns, and ``keys_written``, ``keys_removed``,
    ``keys_replaced`` (that held another type) and ``superseded`` (true if a newer result was there already and nothing
    was written).

    :param sql: one or more statements, or the name of a ``.sql`` file; the last one is the query. (templated)
    :param key_template: the keys, e.g. ``sales:{country}``, with the result's columns in braces. (templated)
    :param index_key: the sorted set that remembers the group's keys. (templated)
    :param expire: seconds after which keys that are not written again expire. (templated)
    :param key_prefix: put before every key and the index, as it is. (templated)
    :param fields: the columns to write, all of them unless given.
    :param version_field: a column of times or whole numbers; of two results, the one with the higher maximum stays,
        whichever was read last. For results whose order is not that of their reading.
    :param log_values: how many keys are logged with their values: true (1,000 of them, and no more than 700 kB), false
        (none), ``all``, or a whole number. A count follows if there are more. (templated)
    :param skip_empty: end as skipped if the result has no row and no key had to be removed. (templated)
    :param batch_size: hashes sent in one command.
    :param redis_conn_id: the connection to Valkey.
    :raises ValueError: naming the column or key, if the template does not fit the result; nothing is written then.
    :raises AirflowFailException: if a version of times lies in the future, here or in Valkey: it would keep out, or has
        kept out, what is computed later; nothing is written then.
    """

    template_fields = (
        *ClickHouseTemplateOperator.template_fields,
        "key_template",
        "index_key",
        "expire",
        "key_prefix",
        "log_values",
        "skip_empty",
    )
    ui_color = "#d8e8ff"

    def __init__(
        self,
        *,
        key_template: str,
        index_key: str,
        expire: timedelta | int | str,
        key_prefix: str = "",
        fields: Sequence[str] | None = None,
        version_field: str | None = None,
        log_values: bool | int | str = True,
        skip_empty: bool | str = False,
        batch_size: int = 500,
        redis_conn_id: str = VALKEY_CONN_ID,
        clock: Callable[[], datetime] = _utc_now,
        **kwargs: Unpack[TemplateArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.key_template = key_template
        self.index_key = index_key
        self.expire = expire
        self.key_prefix = key_prefix
        self.fields = list(fields) if fields is not None else None
        self.version_field = version_field
        self.log_values = log_values
        self.skip_empty = skip_empty
        self.batch_size = as_positive_int(batch_size, "batch_size")
        self.redis_conn_id = redis_conn_id
        self._clock = clock

    def execute(self, context: Context) -> dict[str, Any]:
        """Query, write and clean up.

        :return: what was done, as described for the class.
        :raises AirflowSkipException: if there was nothing to do and ``skip_empty`` is set.
        """
        expire = int(self.expire.total_seconds()) if isinstance(self.expire, timedelta) else self.expire
        expire_seconds = as_positive_int(expire, "expire")
        log_limit = as_log_limit(self.log_values, "log_values", default=_LOGGED_KEYS)
        skip_empty = as_bool(self.skip_empty, "skip_empty")
        template = KeyTemplate(self.key_template, prefix=self.key_prefix)
        with self.hook().session() as session, ValkeyHook(self.redis_conn_id).client() as client:
            publisher = HashPublisher(client, self._index(), batch_size=self.batch_size)
            hashes, done = self._read_and_publish(session, context, publisher, template, expire_seconds)
        if done.superseded_by is None:
            self._log_values(hashes, log_limit)
            self._log_done(done)
            if skip_empty and not hashes.keys and not done.removed:
                raise AirflowSkipException(
                    f"{self._index()}: the result has no row, and no key was there: nothing to do"
                )
        return {
            **self.totals(),
            "keys_written": done.written,
            "keys_removed": done.removed,
            "keys_replaced": done.replaced,
            "superseded": done.superseded_by is not None,
        }

    def _index(self) -> str:
        return self.key_prefix + self.index_key

    def _read_and_publish(
        self,
        session: ClickHouseSession,
        context: Context,
        publisher: HashPublisher,
        template: KeyTemplate,
        expire_seconds: int,
    ) -> tuple[_Hashes, Publication]:
        """Query and write; once more if somebody has published meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            # Before the query, so that nothing which it may not have seen is overwritten.
            state = None if self.version_field else publisher.state()
            result = self.run_sql(session, context)
            by_name = dict(zip(result.names, result.columns, strict=True))
            hashes = self._hashes(result, by_name, template)
            done = publisher.publish(
                hashes.keys,
                hashes.fields,
                hashes.columns,
                version=self._version(by_name) if state is None else state,
                expire_seconds=expire_seconds,
                token=uuid.uuid4().hex,
            )
            if done.superseded_by is None:
                break
            if self.version_field:
                self._refuse_locked_group(by_name, done.superseded_by)
                self.log.warning("%s: version %d is newer: nothing written", self._index(), done.superseded_by)
                break
            self._log_overtaken(attempt, done.superseded_by)
        return hashes, done

    def _log_overtaken(self, attempt: int, version: int) -> None:
        if attempt < _ATTEMPTS:
            self.log.info(
                "%s has changed while this run was reading (version %d): reading again", self._index(), version
            )
            return
        # Whoever published last began to read after the one before had published, and so after this task's start.
        self.log.warning(
            "%s: other runs have published %d times while this one was reading, the last time version %d, which was"
            " read after this task had begun: nothing written",
            self._index(),
            attempt,
            version,
        )

    def _hashes(self, result: StatementResult, by_name: Mapping[str, Sequence[Any]], template: KeyTemplate) -> _Hashes:
        fields = self.fields if self.fields is not None else list(result.names)
        self._require_columns(by_name, [*template.columns, *fields])
        written = {name: texts(by_name[name], name) for name in {*template.columns, *fields}}
        keys = list(template.keys([_complete(written[name], name) for name in template.columns]))
        return _Hashes(keys, fields, [written[name] for name in fields])

    def _log_values(self, hashes: _Hashes, limit: int | None) -> None:
        """Log keys with their values, as many as wanted, and how many more there are."""
        total = len(hashes.keys)
        room = None if limit is None else limit * _LOGGED_BYTES_PER_KEY
        logged = 0
        for position in range(total if limit is None else min(limit, total)):
            line = hashes.line(position)
            if room is not None and (room := room - len(line.encode())) < 0:
                break
            self.log.info("%s", line)
            logged += 1
        if logged < total and limit != 0:
            self.log.info("... and %d more keys (log_values=all logs every one)", total - logged)

    def _log_done(self, done: Publication) -> None:
        if done.replaced:
            self.log.warning(
                "Valkey: %d keys held another type and were replaced: %s%s",
                done.replaced,
                ", ".join(map(one_line, done.replaced_names)),
                ", ..." if done.replaced > len(done.replaced_names) else "",
            )
        self.log.info("Valkey: %d keys written, %d removed", done.written, done.removed)

    def _require_columns(self, by_name: Mapping[str, Sequence[Any]], wanted: list[str]) -> None:
        needed = wanted + ([self.version_field] if self.version_field else [])
        missing = sorted({name for name in needed if name not in by_name})
        if missing:
            raise ValueError(
                f"{self._sql_name}: the result has no column {', '.join(missing)}; it has {', '.join(by_name)}"
            )

    def _version(self, by_name: Mapping[str, Sequence[Any]]) -> int:
        """Return what orders this result among others: milliseconds for times, and for an empty result now.

        :raises AirflowFailException: for a time in the future.
        """
        newest = self._newest(by_name)
        if newest is None:
            return _milliseconds(self._clock())
        if not isinstance(newest, datetime):
            return int(newest)
        now = self._clock()
        if _milliseconds(newest) > _milliseconds(now + _CLOCK_TOLERANCE):
            raise AirflowFailException(
                f"column {self.version_field} orders the results of {self._index()}, and its newest value"
                f" {newest.isoformat()} lies in the future: it is {now.isoformat()}. Published, it would keep out what"
                " is computed until then. Correct the clock that it comes from, and the rows"
            )
        return _milliseconds(newest)

    def _newest(self, by_name: Mapping[str, Sequence[Any]]) -> Any:
        """Return the highest value of the column that orders results; None if there is none.

        :raises ValueError: if it is neither a time nor a whole number.
        """
        column = by_name[self.version_field] if self.version_field else ()
        newest = max((value for value in column if value is not None), default=None)
        if newest is not None and not isinstance(newest, (datetime, int)):
            raise ValueError(f"column {self.version_field}: {newest!r} is neither a time nor a whole number")
        return newest

    def _refuse_locked_group(self, by_name: Mapping[str, Sequence[Any]], cached: int) -> None:
        """Fail if what is cached has a version of the future, so that its being newer says nothing.

        :raises AirflowFailException: saying how to remove the version.
        """
        newest, now = self._newest(by_name), self._clock()
        if not (newest is None or isinstance(newest, datetime)) or cached <= _milliseconds(now + _CLOCK_TOLERANCE):
            return
        index = shlex.quote(self._index())
        raise AirflowFailException(
            f"{self._index()}: the version {cached} that is cached lies in the future: it is {_milliseconds(now)}. It"
            " was written while a clock was ahead, and keeps out every result until then. Set the versions of the group"
            f" to 0 with: valkey-cli ZUNIONSTORE {index} 1 {index} WEIGHTS 0, then clear this task"
        )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _complete(values: Sequence[str | None], name: str) -> list[str]:
    """Return the values of a column that makes part of a key, if there is none missing.

    :raises ValueError: naming the column.
    """
    complete = [value for value in values if value is not None]
    if len(complete) != len(values):
        raise ValueError(f"column {name} is part of the key, but has no value in {len(values) - len(complete)} rows")
    return complete
