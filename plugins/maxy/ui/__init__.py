"""The pages in Airflow's UI and the API behind them: one FastAPI application on Airflow's API server."""
