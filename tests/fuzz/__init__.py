"""A fuzzer: hostile messages, job fields and requests, drawn from a seed.

``python -m tests.fuzz --minutes 60`` runs until the time is up or something breaks; the suite runs a short one. What it
asks of everything: no exception but the typed refusals, no case that takes seconds, no control or direction character
in any output, no growing memory, and no job that is run, failed or changed by a message that is not its own.
"""
