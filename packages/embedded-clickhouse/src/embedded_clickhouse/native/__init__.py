"""ClickHouse's native TCP protocol."""
