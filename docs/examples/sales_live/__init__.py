"""Live sales: an example of a loop of one's own (docs/how-to-live-loops.md)."""
