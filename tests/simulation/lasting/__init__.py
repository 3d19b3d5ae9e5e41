"""Steps, progress, waits and resumes of one job under faults: small worlds, many of them, each by its seed.

The moves of this world change no state that the larger simulation speaks of, and meet each other far more often here:
before every write others may act, requests and answers are lost, processes die between any two of their steps.
"""
