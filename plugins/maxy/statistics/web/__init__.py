"""The pages of statistics, and the API behind them."""
