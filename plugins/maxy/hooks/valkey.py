"""Valkey through apache-airflow-providers-redis, with the environment's connection on top."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.redis.hooks.redis import RedisHook
from redis.retry import Retry

from maxy.hooks.environment import VALKEY_CONN_ID, overridden
from maxy.hooks.valkey_limits import TIMEOUT_SECONDS, connection_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from airflow.sdk import Connection


class ValkeyHook(RedisHook):
    """The provider's Redis hook; ``VALKEY_*`` override the connection ``redis_default``.

    :param redis_conn_id: an Airflow connection of type ``redis``.
    :param timeout: seconds to connect, and for each answer.
    """

    def __init__(self, redis_conn_id: str = VALKEY_CONN_ID, *, timeout: float = TIMEOUT_SECONDS) -> None:
        super().__init__(redis_conn_id=redis_conn_id)
        self._timeout = timeout

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return overridden(conn_id, super().get_connection)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Open a client that closes with the block.

        A server that does not connect or answer within 5 s is asked once more, on a new connection; then it is an
        error, not a wait (:mod:`maxy.hooks.valkey_limits`).

        :raises ValueError: for a connection in cluster mode: a set of keys is published by one script, which cannot
            span the nodes of a cluster.
        """
        client: redis.Redis = self.get_conn()  # type: ignore[no-untyped-call]
        try:
            if self.cluster:
                raise ValueError(f"connection {self.redis_conn_id}: cluster mode is not supported")
            limits = connection_limits(Retry, self._timeout)
            # Before it connects. The provider's hook takes no options; what it makes is read by each new connection.
            client.connection_pool.connection_kwargs.update(limits)
            client.set_retry(limits["retry"])
            yield client
        finally:
            client.close()
