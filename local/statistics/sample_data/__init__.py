"""Deterministic sample data for the source tables.

`seed` loads it, `generator` makes it as columns and as rows for an independent computation, `bulk` makes large
volumes for benchmarks.
"""

from local.statistics.sample_data.generator import SampleData, page_flow_rows
from local.statistics.sample_data.seeding import SeedResult, seed

__all__ = ["SampleData", "SeedResult", "page_flow_rows", "seed"]
