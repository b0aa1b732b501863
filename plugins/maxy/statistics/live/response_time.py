"""Live scatter of the response times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from maxy.loops.options import Option, some_whole_numbers
from maxy.statistics.live.scatter.loop import ScatterLoop

if TYPE_CHECKING:
    from collections.abc import Mapping

_NATIVE_RESPONSE, _WEB_RESPONSE = 0x00080000 | 0x00000003, 0x00800000 | 0x00000004


class ResponseTime(ScatterLoop):
    """Keeps the times of the responses that took any time at all.

    :param environment: clients and settings.
    """

    name = "response_time"
    table = "maxy_app_total_log"
    key_template = "responsetime:{package_nm}:{server_type}"
    low_from = 1
    options: ClassVar[Mapping[str, Option]] = {
        **ScatterLoop.options,
        "log_types": Option([_NATIVE_RESPONSE, _WEB_RESPONSE], some_whole_numbers, "log types that are responses"),
    }

    def parameters(self) -> dict[str, Any]:
        """Return the log types."""
        return {"log_types": self.environment.settings["log_types"]}
