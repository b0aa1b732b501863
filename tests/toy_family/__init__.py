"""A family of toys, added to a copy of the repository as docs/adding-a-family.md says."""
