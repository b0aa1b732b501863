"""What a family hands in for the pages and the API: everything that answers requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from fastapi import APIRouter, Request
    from starlette.responses import Response

    from maxy.web.shell import Shell

    Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]
    #: By the status, or by the class of what was raised.
    Handlers = Mapping[int | type[Exception], Handler]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a family's.

    Its template is ``<name>.html``, its script ``static/js/<name>.js`` and the text of its title ``<name>.pageTitle``.

    :param name: below the pages' prefix; no other family has a page of that name.
    :param is_in_bar: whether the bar on top of every page has a link to it, whose text is ``page.<name>``.
    """

    name: str
    is_in_bar: bool = True


@dataclass(frozen=True, kw_only=True)
class HealthReport:
    """A family's section of the Health page.

    :param template: what is put into the page, in the order of the families.
    :param script: the module below ``static`` that fills it.
    """

    template: str
    script: str


@dataclass(frozen=True, kw_only=True)
class Mount:
    """What answers at a prefix of the family's own, outside of the pages' prefix.

    It is an application of its own: what it makes of an error concerns no other route.

    :param routers: with paths below the prefix; ``/`` is the prefix itself, with a slash at its end and without.
    :param exception_handlers: by the class of what was raised.
    :param title: of its OpenAPI document.
    """

    routers: Sequence[APIRouter]
    exception_handlers: Handlers = field(default_factory=dict)
    title: str = "maxy"


@dataclass(frozen=True, kw_only=True)
class WebParts:
    """A family's part of the pages.

    The names of pages, files and routes are shared by all families; one that is taken is refused when the application
    is made. A family that comes later than the statistics puts its files into folders of its own name.

    :param open: makes what its routes work with, from what all families share; a route finds it with
        :func:`maxy.web.shell.opened`.
    :param routers: below the pages' prefix.
    :param exception_handlers: by the class of what was raised, which is the family's own.
    :param directory: has ``templates``, which extend ``page.html`` and may use ``parts.html``, and ``static``, whose
        scripts and styles are given below ``static/``.
    :param pages: its pages.
    :param keeps: parameters of a page's address that the links of the bar take along.
    :param texts: modules below ``static`` that add its texts to those of all pages.
    :param styles: below ``static``, behind those of all pages.
    :param health: its section of the Health page.
    :param mounts: by prefix: what answers there. The prefixes are those of :class:`~maxy.web.family_web.FamilyWeb`.
    :param description: a paragraph on its routes, for the document of the API.
    """

    open: Callable[[Shell], Any]
    routers: Sequence[APIRouter] = ()
    exception_handlers: Handlers = field(default_factory=dict)
    directory: Path | None = None
    pages: Sequence[Page] = ()
    keeps: Sequence[str] = ()
    texts: Sequence[str] = ()
    styles: Sequence[str] = ()
    health: HealthReport | None = None
    mounts: Mapping[str, Mount] = field(default_factory=dict)
    description: str = ""
