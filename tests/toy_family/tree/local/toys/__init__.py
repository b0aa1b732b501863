"""Toys on the embedded stack."""
