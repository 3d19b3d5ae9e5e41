"""What `Settings` is made of: the tables inside it, how they are read, and the numbers that are derived from them.

The lowest layer. Users' code takes these names from `jobclaim.settings`, or from `jobclaim`.
"""
