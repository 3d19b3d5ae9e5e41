"""Figures for the staff."""
