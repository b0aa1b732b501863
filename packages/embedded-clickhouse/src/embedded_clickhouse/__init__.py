"""A ClickHouse server for laptops and CI: the engine of chDB behind ClickHouse's own HTTP and native protocols."""
