"""The embedded stack (``python -m local``): ClickHouse, Valkey, PostgreSQL and Airflow on one machine, no docker."""
