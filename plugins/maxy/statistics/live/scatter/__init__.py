"""The latest loading and response times as points, a bounded sample of a sliding window."""
