"""Failures: their classification, and what follows from them."""
