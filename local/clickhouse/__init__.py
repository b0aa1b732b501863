"""Former names of the package ``embedded_clickhouse`` (packages/embedded-clickhouse), for one release."""
