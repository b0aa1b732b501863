"""The former name of ``embedded_clickhouse.testing``."""

from __future__ import annotations

import warnings

from embedded_clickhouse.testing import Server, ServerArguments, running_server

__all__ = ["Server", "ServerArguments", "running_server"]

warnings.warn("local.clickhouse.testing is now embedded_clickhouse.testing", DeprecationWarning, stacklevel=2)
