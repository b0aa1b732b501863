"""What users, stored runs and other programs know of the package: it may grow, and not change."""
