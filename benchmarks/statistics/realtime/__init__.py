"""What a tick of each live loop costs."""
