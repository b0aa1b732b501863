"""What one tick of each live loop does: plain asyncio, no Airflow. Clients and clock come in, a result goes out."""
