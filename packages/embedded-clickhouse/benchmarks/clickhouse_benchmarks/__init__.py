"""What the embedded ClickHouse costs beside the engine in the same process; `soak`: kills and load, at length."""
