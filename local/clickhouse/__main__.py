"""The former name of ``python -m embedded_clickhouse``."""

from __future__ import annotations

import warnings

from embedded_clickhouse.__main__ import main

if __name__ == "__main__":
    warnings.warn(
        "`python -m local.clickhouse` is now `embedded-clickhouse`, or `python -m embedded_clickhouse`",
        DeprecationWarning,
        stacklevel=1,
    )
    raise SystemExit(main())
