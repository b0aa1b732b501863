"""Where the package under test is, for processes that tests start."""

from __future__ import annotations

from pathlib import Path

import embedded_clickhouse

#: The folder that holds the package: with it as the working directory, `python -m embedded_clickhouse` is this one.
SOURCE = Path(embedded_clickhouse.__file__).resolve().parents[1]
