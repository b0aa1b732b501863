"""Valkey through apache-airflow-providers-redis, with the environment's connection on top."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.redis.hooks.redis import RedisHook

from maxy.hooks.environment import VALKEY_CONN_ID, overridden

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from airflow.sdk import Connection


class ValkeyHook(RedisHook):
    """The provider's Redis hook; ``VALKEY_*`` override the connection ``redis_default``.

    :param redis_conn_id: an Airflow connection of type ``redis``.
    """

    def __init__(self, redis_conn_id: str = VALKEY_CONN_ID) -> None:
        super().__init__(redis_conn_id=redis_conn_id)

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return overridden(conn_id, super().get_connection)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Open a client that closes with the block.

        redis-py's own time-outs hold (5 s to connect and per answer), so a server that hangs is an error, not a wait.

        :raises ValueError: for a connection in cluster mode: a set of keys is published by one script, which cannot
            span the nodes of a cluster.
        """
        client: redis.Redis = self.get_conn()  # type: ignore[no-untyped-call]
        try:
            if self.cluster:
                raise ValueError(f"connection {self.redis_conn_id}: cluster mode is not supported")
            yield client
        finally:
            client.close()
