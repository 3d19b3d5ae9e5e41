"""Writes of a caller's that are made together with a job's own: all of them, or none."""
