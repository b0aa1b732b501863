"""Write what a tick computed: strings and hashes, in one step that first checks the lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maxy.valkey.scripts import read_script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maxy.valkey.lease import Lease

# Stands for no value. Valid text has no such byte, so no value is ever taken for it.
_ABSENT = b"\xff"


@dataclass(frozen=True)
class HashGroup:
    """Hashes with the same fields.

    :param fields: the names of the fields.
    :param hashes: key and values, in the order of the fields; None removes the field.
    :param indexed: remember the keys in the index.
    """

    fields: Sequence[str]
    hashes: Sequence[tuple[str, Sequence[str | None]]]
    indexed: bool = True


class TickWriter:
    """Writes a tick's results.

    :param lease: of the loop.
    :param index_key: a sorted set that remembers the loop's hash keys.
    """

    def __init__(self, lease: Lease, index_key: str) -> None:
        self._lease = lease
        self._index_key = index_key
        self._script = lease.script(read_script("write_tick"))

    async def write(
        self,
        groups: Sequence[HashGroup],
        *,
        expire_ms: int,
        strings: Mapping[str, str | bytes] | None = None,
        strings_expire_ms: int | None = None,
        index_ms: int | None = None,
    ) -> int:
        """Write all of it, or nothing.

        :param groups: the hashes.
        :param expire_ms: milliseconds after which what is not written again expires.
        :param strings: keys of plain values, and the values.
        :param strings_expire_ms: the same for the strings; ``expire_ms`` unless given.
        :param index_ms: the present instant in milliseconds: remember the hash keys under it, and forget those that
            were not put into the index for ``expire_ms``. None: keep no index.
        :return: the number of keys written.
        :raises maxy.valkey.lease.LeaseLost: another copy holds the lease; nothing was written.
        :raises redis.RedisError: on a server or network error; all or nothing was written.
        """
        strings = strings or {}
        keys = [self._index_key, *strings]
        arguments: list[str | bytes | int] = [
            expire_ms,
            "" if index_ms is None else index_ms,
            strings_expire_ms or expire_ms,
            len(strings),
            *strings.values(),
        ]
        for group in groups:
            if not group.hashes:
                continue
            arguments += [int(group.indexed), len(group.hashes), len(group.fields), *group.fields]
            for key, values in group.hashes:
                keys.append(key)
                arguments += [_ABSENT if value is None else value for value in values]
        return int(await self._lease.run(self._script, keys, arguments))
