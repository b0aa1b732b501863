"""The long tests: kills under writers, and clients by the dozen."""
