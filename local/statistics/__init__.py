"""What the embedded stack has of statistics: sample data, live traffic, and what `run` and `report` show."""
