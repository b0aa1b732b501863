"""The family of statistics: figures of mobile and web applications, one row per day and key, and live."""
