"""Operators for ClickHouse and Valkey that any DAG can use."""
