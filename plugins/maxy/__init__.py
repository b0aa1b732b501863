"""Data families on Apache Airflow, ClickHouse, Valkey and PostgreSQL; statistics of applications is the first."""

__version__ = "0.1.0"
