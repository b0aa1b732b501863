"""ClickHouse's SQL as text: where statements end, and how values are written in them. Knows nothing of Airflow."""
