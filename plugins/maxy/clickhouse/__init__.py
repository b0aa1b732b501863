"""ClickHouse: a client, SQL as text, and what its types' values are. Knows nothing of Airflow."""
