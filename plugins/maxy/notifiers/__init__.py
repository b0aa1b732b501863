"""What is told to people when a task fails."""
