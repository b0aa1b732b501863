"""Live scatter of the pages' loading times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from maxy.loops.options import Option, boolean, whole_numbers
from maxy.statistics.live.scatter.loop import ScatterLoop

if TYPE_CHECKING:
    from collections.abc import Mapping


class LoadingTime(ScatterLoop):
    """Keeps the pages' loading times of 10 ms and more.

    By default all of them. ``only_wtf_flag`` and ``log_types`` each admit some rows; with both set, a row that one of
    them admits is shown.

    :param environment: clients and settings.
    """

    name = "loading_time"
    table = "maxy_device_page_flow"
    key_template = "loadingtime:{package_nm}:{server_type}"
    low_from = 10
    options: ClassVar[Mapping[str, Option]] = {
        **ScatterLoop.options,
        "only_wtf_flag": Option(False, boolean, "show rows with wtf_flag = 'Y' only, besides those of log_types"),
        "log_types": Option([], whole_numbers, "show rows of these log types only, besides those of only_wtf_flag"),
    }

    def structure(self) -> dict[str, Any]:
        """Return the filters that are set."""
        settings = self.environment.settings
        return {"only_wtf_flag": settings["only_wtf_flag"], "log_types": bool(settings["log_types"])}

    def parameters(self) -> dict[str, Any]:
        """Return the filters' values."""
        log_types = self.environment.settings["log_types"]
        return {"log_types": log_types} if log_types else {}
