"""Long-lived work in the triggerer: plain asyncio, no Airflow. Clients and clock come in, a result goes out."""
