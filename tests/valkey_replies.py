"""A Valkey client's replies by their type.

redis-py declares texts and bytes alike, whichever of them a client was made to return. A test knows which: a reply of
another type fails here, where it would be compared in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis
    from redis.typing import EncodableT, FieldT

Member = TypeVar("Member", str, bytes)


def as_text(reply: object) -> str:
    """Return a reply of a client that returns texts."""
    assert isinstance(reply, str), reply
    return reply


def as_bytes(reply: object) -> bytes:
    """Return a reply of a client that returns bytes."""
    assert isinstance(reply, bytes), reply
    return reply


def as_number(reply: object) -> float:
    """Return a member's score."""
    assert isinstance(reply, float), reply
    return reply


def decoded_hash(reply: Mapping[bytes | str, bytes | str]) -> dict[str, str]:
    """Return a hash as texts, of a client that returns bytes."""
    return {as_bytes(name).decode(): as_bytes(value).decode() for name, value in reply.items()}


def scored(reply: Iterable[object], kind: type[Member]) -> list[tuple[Member, float]]:
    """Return members with their scores.

    :param kind: what the client returns.
    """
    found: list[tuple[Member, float]] = []
    for pair in reply:
        assert isinstance(pair, tuple | list), pair
        member, score = pair
        assert isinstance(member, kind), member
        found.append((member, as_number(score)))
    return found


def put_hash(client: redis.Redis, key: str, values: Mapping[str, str | float]) -> None:
    """Set fields of a hash."""
    # Its keys' type is declared in full, and a mapping of fewer types of keys is another type.
    mapping: dict[FieldT, EncodableT] = {name: value for name, value in values.items()}
    client.hset(key, mapping=mapping)
