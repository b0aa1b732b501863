"""What holds for all tests of the package."""

from __future__ import annotations

import os

import hypothesis

# A developer's own server must not be reached by a test.
for _name in [name for name in os.environ if name.startswith("CLICKHOUSE_")]:
    del os.environ[_name]

# How long an example takes says something about the machine's load, not about the code: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
