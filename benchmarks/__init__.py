"""Benchmarks: `make bench-daily`, `make bench-backfill`. Never part of the tests."""
