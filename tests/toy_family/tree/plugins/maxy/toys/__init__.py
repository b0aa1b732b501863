"""How many toys are in stock."""
