"""PostgreSQL for the package's own data: plain Python, no Airflow."""
