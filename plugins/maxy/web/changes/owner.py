"""What belongs to somebody is changed by that user, or by an administrator."""

from collections.abc import Callable

from fastapi import Depends, HTTPException
from fastapi.params import Depends as Dependency

from maxy.web.changes.change import CurrentChange


def owned_by(find_owner: Callable[..., object]) -> Dependency:
    """Return a dependency, to stand behind ``changing(...)``, that refuses who does not own the target.

    :param find_owner: a FastAPI dependency that returns the id of the target's owner, or None where there is no such
        target. It may take the route's parameters and ``CurrentChange``, to look in the change's own transaction (with
        ``FOR UPDATE``, so that the owner stays who it is).
    """

    async def check_owner(change: CurrentChange, owner: object = Depends(find_owner)) -> None:
        if owner is None:
            raise HTTPException(404, "there is no such thing to change")
        if owner != change.who and not await change.is_admin():
            raise HTTPException(403, "this belongs to somebody else")

    dependency: Dependency = Depends(check_owner)
    return dependency
