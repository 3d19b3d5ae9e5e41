"""The parts of `Settings`: the nested tables, how they are read, and the numbers derived from them.

This is the lowest layer. Users' code imports these names from `jobclaim.settings`, or from `jobclaim`.
"""
