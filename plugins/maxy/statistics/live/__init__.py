"""The live loops of statistics: what one tick of each does."""
