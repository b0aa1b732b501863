"""Benchmarks of each family, `make bench-*`. Never part of the tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Airflow makes its home when it is imported; a benchmark leaves none behind.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="maxy-bench-airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
