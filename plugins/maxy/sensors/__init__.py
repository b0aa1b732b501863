"""Sensors that hold a run back until its data can be complete."""
