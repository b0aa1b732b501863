"""What the statistics cost: a day, a backfill, a tick, a page, an operator; and the soak."""
