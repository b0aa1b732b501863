"""Connections to ClickHouse and Valkey."""
