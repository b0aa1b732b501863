"""What is written to Valkey, and how: plain redis-py and Lua, no Airflow."""
