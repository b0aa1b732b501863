"""What toys hand in for the pages."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.parts import Page, WebParts

router = APIRouter(prefix="/api/toys", dependencies=[MAY_SEE_PLUGINS])


@router.get("/kinds")
async def kinds() -> list[str]:
    """Name the kinds of toys."""
    return ["ball", "kite"]


def toy_parts() -> WebParts:
    """Return the parts."""
    return WebParts(
        open=lambda shell: shell.clients,
        routers=(router,),
        directory=Path(__file__).resolve().parent,
        pages=(Page(name="toys"),),
        texts=("toys/texts.js",),
    )
