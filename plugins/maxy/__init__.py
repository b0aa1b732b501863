"""Statistics of mobile and web applications: computed in ClickHouse, cached in Valkey, scheduled by Apache Airflow."""

__version__ = "0.1.0"
