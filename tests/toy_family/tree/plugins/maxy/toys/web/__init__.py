"""The page of toys."""
