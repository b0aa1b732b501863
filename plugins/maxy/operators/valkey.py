"""Keep a ClickHouse query's result as hashes in Valkey."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from maxy._parsing import as_bool, as_positive_int
from maxy.hooks.environment import VALKEY_CONN_ID
from maxy.hooks.valkey import ValkeyHook
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.valkey.hashes import HashPublisher
from maxy.valkey.keys import KeyTemplate
from maxy.valkey.text import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from maxy.hooks.clickhouse import StatementResult
    from maxy.valkey.hashes import Publication


class ClickHouseToValkeyHashOperator(ClickHouseTemplateOperator):
    """Write each row of a query's result as a hash, and remove the keys that are no longer in the result.

    The hashes of one index make a group, which is replaced in one step: readers see all of the former result or all of
    this one. A repeated run leaves the same keys. Every key and value is logged at INFO unless switched off; the counts
    always are.

    Values are text: numbers as they read back exactly, dates and times in ISO 8601 (times in UTC with ``Z``); NULL, NaN
    and infinities leave their field out. ``%`` and ``:`` in a value are percent-encoded in keys, so that two rows never
    share one.

    Returns (XCom) what :class:`ClickHouseTemplateOperator` returns, and ``keys_written``, ``keys_removed`` and
    ``superseded`` (true if a newer result was there already and nothing was written).

    :param sql: one or more statements, or the name of a ``.sql`` file; the last one is the query. (templated)
    :param key_template: the keys, e.g. ``sales:{country}``, with the result's columns in braces. (templated)
    :param index_key: the sorted set that remembers the group's keys. (templated)
    :param expire: seconds after which keys that are not written again expire. (templated)
    :param key_prefix: put before every key and the index, as it is. (templated)
    :param fields: the columns to write, all of them unless given.
    :param version_field: a column of times or whole numbers; of two results, the one with the higher maximum stays,
        whichever was written last. Without it the last one stays.
    :param log_values: log each key with its values. (templated)
    :param batch_size: hashes sent in one command.
    :param redis_conn_id: the connection to Valkey.
    :raises ValueError: naming the column or key, if the template does not fit the result; nothing is written then.
    """

    template_fields = (
        *ClickHouseTemplateOperator.template_fields,
        "key_template",
        "index_key",
        "expire",
        "key_prefix",
        "log_values",
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
        log_values: bool | str = True,
        batch_size: int = 500,
        redis_conn_id: str = VALKEY_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key_template = key_template
        self.index_key = index_key
        self.expire = expire
        self.key_prefix = key_prefix
        self.fields = list(fields) if fields is not None else None
        self.version_field = version_field
        self.log_values = log_values
        self.batch_size = as_positive_int(batch_size, "batch_size")
        self.redis_conn_id = redis_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Query, write and clean up.

        :return: what was done, as described for the class.
        """
        expire = int(self.expire.total_seconds()) if isinstance(self.expire, timedelta) else self.expire
        expire_seconds = as_positive_int(expire, "expire")
        template = KeyTemplate(self.key_template, prefix=self.key_prefix)
        with self.hook().session() as session:
            result = self.run_sql(session, context)
        written = self._publish(result, template, expire_seconds)
        return {
            **self.totals(),
            "keys_written": written.written,
            "keys_removed": written.removed,
            "superseded": written.superseded_by is not None,
        }

    def _publish(self, result: StatementResult, template: KeyTemplate, expire_seconds: int) -> Publication:
        fields = self.fields if self.fields is not None else list(result.names)
        by_name = dict(zip(result.names, result.columns, strict=True))
        self._require_columns(by_name, [*template.columns, *fields])
        written = {name: texts(by_name[name], name) for name in {*template.columns, *fields}}
        keys = list(template.keys([_complete(written[name], name) for name in template.columns]))
        columns = [written[name] for name in fields]
        with ValkeyHook(self.redis_conn_id).client() as client:
            done = HashPublisher(client, self.key_prefix + self.index_key, batch_size=self.batch_size).publish(
                keys,
                fields,
                columns,
                version=self._version(by_name),
                expire_seconds=expire_seconds,
                token=uuid.uuid4().hex,
            )
        if done.superseded_by is not None:
            self.log.warning("A newer result is cached already (version %d): nothing written", done.superseded_by)
            return done
        if as_bool(self.log_values, "log_values"):
            for key, *values in zip(keys, *columns, strict=True):
                self.log.info("%s %s", key, dict(zip(fields, values, strict=True)))
        self.log.info("Valkey: %d keys written, %d removed", done.written, done.removed)
        return done

    def _require_columns(self, by_name: dict[str, Sequence[Any]], wanted: list[str]) -> None:
        needed = wanted + ([self.version_field] if self.version_field else [])
        missing = sorted({name for name in needed if name not in by_name})
        if missing:
            raise ValueError(
                f"{self._sql_name}: the result has no column {', '.join(missing)}; it has {', '.join(by_name)}"
            )

    def _version(self, by_name: dict[str, Sequence[Any]]) -> int:
        """Return what orders this result among others: milliseconds for times, now if nothing tells."""
        column = by_name[self.version_field] if self.version_field else ()
        newest = max(column, default=datetime.now(UTC))
        return int(newest.timestamp() * 1000) if isinstance(newest, datetime) else int(newest)


def _complete(values: Sequence[str | None], name: str) -> list[str]:
    """Return the values of a column that makes part of a key, if there is none missing.

    :raises ValueError: naming the column.
    """
    complete = [value for value in values if value is not None]
    if len(complete) != len(values):
        raise ValueError(f"column {name} is part of the key, but has no value in {len(values) - len(complete)} rows")
    return complete
