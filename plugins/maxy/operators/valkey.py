"""Keep a ClickHouse query's result as hashes in Valkey."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from maxy._parsing import as_bool, as_log_limit, as_positive_int
from maxy.clickhouse.values import texts
from maxy.clickhouse.version_columns import newest_value
from maxy.hooks.environment import VALKEY_CONN_ID
from maxy.hooks.valkey import ValkeyHook
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.text import one_line
from maxy.valkey.hashes import (
    ForeignKeys,
    GroupRefusedError,
    HashPublisher,
    LargeGroups,
    Layout,
    Version,
    Writer,
)
from maxy.valkey.keys import KeyTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Unpack

    import redis
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
# Ten years: more is milliseconds taken for seconds, or an instant.
_LONGEST_SECONDS = 3660 * 86_400

_Choice = TypeVar("_Choice", bound=StrEnum)


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

    The hashes of one index make a group, which has one owner: the task that wrote it first, and of a mapped task the
    map index. Another writer is refused before it computes anything. Up to 3,000 keys are replaced in one step: readers
    see all of the former result or all of this one. For more, choose ``layout`` or ``large_groups``. A repeated run
    leaves the same keys. The result that was read last stays, whatever clocks say: if another run has published while
    this one was reading, this one reads again.

    Values are text: numbers as they read back exactly, dates and times in ISO 8601 (times in UTC with ``Z``); NULL, NaN
    and infinities leave their field out, and a row without any value its key, since Valkey has no empty hash. ``%`` and
    ``:`` in a value are percent-encoded in keys, so that two rows never share one.

    A key of the group that holds another type by now is replaced, named in a warning and counted; it stops none of the
    others. What the group has not written is not: another type in the place of the index or a hash, and a hash of
    another group, are refused before anything is written.

    Returns (XCom) what :class:`ClickHouseTemplateOperator` returns, and ``keys_written``, ``keys_removed``,
    ``keys_replaced`` (that held another type), ``keys_left_out`` (rows without any value) and ``superseded`` (true if a
    newer result was there already and this one is not what readers see).

    :param sql: one or more statements, or the name of a ``.sql`` file; the last one is the query. (templated)
    :param key_template: the keys, e.g. ``sales:{country}``, with the result's columns in braces. (templated)
    :param index_key: the sorted set that remembers the group's keys; beside it is the group's record,
        ``<index_key>:group``. Each writer needs one of its own, a mapped task one with what it is mapped over.
        (templated)
    :param expire: seconds after which keys that are not written again expire: a whole number, at most ten years.
        (templated)
    :param key_prefix: put before every key and the index, as it is. (templated)
    :param fields: the columns to write, all of them unless given.
    :param version_field: a column of times, dates or whole numbers; of two results, the one with the higher maximum
        stays, whichever was read last. For results whose order is not that of their reading. Times without a zone are
        in ``timezone``.
    :param version: the version of a result without rows, or, without ``version_field``, of each result: a time or date
        in ISO 8601, or a whole number. (templated)
    :param layout: ``keys``, or ``generations``: keys have ``@`` and the generation's number behind them, and readers of
        a group of any size see all of one result (:mod:`maxy.valkey.groups`).
    :param large_groups: what is done with more than 3,000 plain keys: ``refuse``, or ``slices``: each key is whole, but
        readers see keys of two results for a moment.
    :param foreign_keys: what is done with other types in the place of the index or of hashes that the group has not
        written: ``refuse``, or ``replace``: replaced, named in a warning and counted. Keys that an index of somebody
        else's names are left alone.
    :param group_owner: who owns the group, instead of DAG, task and map index; for several tasks that write one group
        in turn. (templated)
    :param log_values: how many keys are logged with their values: true (1,000 of them, and no more than 700 kB), false
        (none), ``all``, or a whole number. A count follows if there are more. (templated)
    :param skip_empty: end as skipped if the result has no row and no key had to be removed. (templated)
    :param batch_size: hashes sent in one command, at the most.
    :param redis_conn_id: the connection to Valkey; not a cluster.
    :raises ValueError: naming the column or key, if the template does not fit the result; nothing is written then.
    :raises AirflowFailException: if the group or a key is not this task's, the group too large, or its version of
        another unit or missing; if a version of times lies in the future, here or in Valkey: it would keep out, or has
        kept out, what is computed later. Readers see no change then.
    """

    template_fields = (
        *ClickHouseTemplateOperator.template_fields,
        "key_template",
        "index_key",
        "expire",
        "key_prefix",
        "version",
        "group_owner",
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
        version: Any = None,
        layout: Layout | str = Layout.KEYS,
        large_groups: LargeGroups | str = LargeGroups.REFUSE,
        foreign_keys: ForeignKeys | str = ForeignKeys.REFUSE,
        group_owner: str | None = None,
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
        if self.fields == []:
            raise ValueError("fields: names no column, and there is no hash without a field")
        self.version_field = version_field
        self.version = version
        self.layout = _choice(Layout, layout, "layout")
        self.large_groups = _choice(LargeGroups, large_groups, "large_groups")
        self.foreign_keys = _choice(ForeignKeys, foreign_keys, "foreign_keys")
        self.group_owner = group_owner
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
        expire_seconds = self._expire_seconds()
        log_limit = as_log_limit(self.log_values, "log_values", default=_LOGGED_KEYS)
        skip_empty = as_bool(self.skip_empty, "skip_empty")
        given_version = self._given_version()
        with self.hook().session() as session, ValkeyHook(self.redis_conn_id).client() as client:
            session.read_exactly()
            template = KeyTemplate(self.key_template, prefix=self.key_prefix)
            publisher = self._publisher(client, template, context)
            try:
                hashes, done = self._read_and_publish(
                    session, context, publisher, template, expire_seconds, given_version
                )
            except GroupRefusedError as error:
                # Another try would find the same.
                raise AirflowFailException(str(error)) from error
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
            "keys_left_out": done.left_out,
            "superseded": done.superseded_by is not None,
        }

    def _index(self) -> str:
        return self.key_prefix + self.index_key

    def _expire_seconds(self) -> int:
        expire: object = self.expire
        if isinstance(expire, timedelta):
            if expire.microseconds:
                raise ValueError(f"expire: {expire} is not a whole number of seconds")
            expire = int(expire.total_seconds())
        return as_positive_int(expire, "expire", most=_LONGEST_SECONDS)

    def _publisher(self, client: redis.Redis, template: KeyTemplate, context: Context) -> HashPublisher:
        ti = context["ti"]
        if self.group_owner:
            writer = Writer(self.group_owner)
        else:
            # None in some of Airflow's ways to make a context.
            map_index = -1 if ti.map_index is None else ti.map_index
            writer = Writer(f"{ti.dag_id}.{ti.task_id}", map_index, ti.run_id)
        return HashPublisher(
            client,
            self._index(),
            template=template,
            writer=writer,
            batch_size=self.batch_size,
            layout=self.layout,
            large_groups=self.large_groups,
            foreign_keys=self.foreign_keys,
        )

    def _read_and_publish(
        self,
        session: ClickHouseSession,
        context: Context,
        publisher: HashPublisher,
        template: KeyTemplate,
        expire_seconds: int,
        given_version: Version | None,
    ) -> tuple[_Hashes, Publication]:
        """Query and write; once more if somebody has published meanwhile."""
        by_reading = self.version_field is None and given_version is None
        for attempt in range(1, _ATTEMPTS + 1):
            # Before the query, so that nothing which it may not have seen is overwritten, and nothing is computed for a
            # group that is somebody else's.
            state = publisher.state()
            result = self.run_sql(session, context)
            by_name = dict(zip(result.names, result.columns, strict=True))
            hashes = self._hashes(result, by_name, template)
            version = self._version(result, given_version)
            done = publisher.publish(
                hashes.keys,
                hashes.fields,
                hashes.columns,
                version=state if version is None else version,
                expire_seconds=expire_seconds,
            )
            if done.superseded_by is None:
                break
            if version is not None:
                self._refuse_locked_group(version, done.superseded_by, publisher.reset_command)
            if not by_reading or done.was_overtaken:
                self.log.warning("%s: version %d is newer: it stays", self._index(), done.superseded_by)
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
        types = dict(zip(result.names, result.types, strict=True))
        written = {name: texts(by_name[name], name, types[name]) for name in {*template.columns, *fields}}
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
        if done.left_out:
            self.log.warning(
                "Valkey: %d rows have no value in any field, so there is no key for them: %s%s",
                done.left_out,
                ", ".join(map(one_line, done.left_out_names)),
                ", ..." if done.left_out > len(done.left_out_names) else "",
            )
        self.log.info("Valkey: %d keys written, %d removed", done.written, done.removed)
        if done.written and done.removed >= done.written:
            self.log.warning(
                "%s: at least as many keys were removed as written. If this is to keep the keys of several runs,"
                " put what tells the runs apart, such as the hour, into index_key",
                self._index(),
            )

    def _require_columns(self, by_name: Mapping[str, Sequence[Any]], wanted: list[str]) -> None:
        needed = wanted + ([self.version_field] if self.version_field else [])
        missing = sorted({name for name in needed if name not in by_name})
        if missing:
            raise ValueError(
                f"{self._sql_name}: the result has no column {', '.join(missing)}; it has {', '.join(by_name)}"
            )

    def _given_version(self) -> Version | None:
        """Return the parameter `version`.

        :raises ValueError: if it is neither a time, a date nor a whole number.
        """
        if self.version is None:
            return None
        try:
            return Version.parse(self.version, self._zone())
        except ValueError as error:
            raise ValueError(f"version: {error}") from None

    def _version(self, result: StatementResult, given: Version | None) -> Version | None:
        """Return what orders this result among others; None if that is when it was read.

        :raises AirflowFailException: for a time in the future, and if a result without rows has no version.
        """
        if self.version_field is None:
            version = given
        else:
            version = self._newest(result, self.version_field) or given
            if version is None:
                raise AirflowFailException(
                    f"{self._index()}: the result has no value of {self.version_field}, which orders results, so"
                    " whether it is newer than what is there cannot be told. Say version= for such results, for example"
                    ' version="{{ data_interval_end }}"'
                )
        if version is not None:
            self._refuse_future(version)
        return version

    def _newest(self, result: StatementResult, name: str) -> Version | None:
        """Return the highest version in a column; None if there is none.

        :raises ValueError: naming the column, if it holds neither times, dates nor whole numbers, or NULL.
        """
        position = list(result.names).index(name)
        newest = newest_value(result.columns[position], name, result.types[position])
        return None if newest is None else Version.of(newest, self._zone())

    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._settings["session_timezone"])

    def _refuse_future(self, version: Version) -> None:
        now = self._clock()
        moment = version.moment
        if moment is None or moment <= now + _CLOCK_TOLERANCE:
            return
        source = f"column {self.version_field}" if self.version_field else "version="
        raise AirflowFailException(
            f"{source} orders the results of {self._index()}, and its newest value {version} lies in the future: it is"
            f" {now.isoformat()}. Published, it would keep out what is computed until then. Correct the clock that it"
            " comes from, and the rows"
        )

    def _refuse_locked_group(self, version: Version, cached: int, reset_command: str) -> None:
        """Fail if the version of what is cached lies in the future: that it is the newer one means nothing then.

        :raises AirflowFailException: saying how to remove the version.
        """
        now, published = self._clock(), Version(cached, version.unit)
        if published.moment is None or published.moment <= now + _CLOCK_TOLERANCE:
            return
        raise AirflowFailException(
            f"{self._index()}: the version {cached} that is cached, {published}, lies in the future: it is"
            f" {now.isoformat()}. It was written while a clock was ahead, and keeps out every result until then. Let"
            f" the group forget it with: {reset_command}, then clear this task"
        )


def _choice(kind: type[_Choice], value: str, name: str) -> _Choice:
    """Return what a parameter names.

    :raises ValueError: naming the parameter and what it may be.
    """
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(kind)}") from None


def _complete(values: Sequence[str | None], name: str) -> list[str]:
    """Return the values of a column that makes part of a key, if there is none missing.

    :raises ValueError: naming the column.
    """
    complete = [value for value in values if value is not None]
    if len(complete) != len(values):
        raise ValueError(f"column {name} is part of the key, but has no value in {len(values) - len(complete)} rows")
    return complete
