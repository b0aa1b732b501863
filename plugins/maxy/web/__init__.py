"""The shell of the pages in Airflow's UI and of the API behind them: one application on Airflow's API server."""
