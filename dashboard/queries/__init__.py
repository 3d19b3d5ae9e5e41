"""Queries of the pages: bounded requests, and the values that templates show."""
