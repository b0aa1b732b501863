"""Tools that work against any Airflow deployment of the package, the embedded stack's included."""
