"""Who takes part: one file an actor, each doing with the real code what the real one does.

A new actor is a function of a stage and a process, started in `tests.simulation.run`.
"""
