"""Chains, chords, callbacks and ticks over a bad line, with the real tasks, in one process; each seed takes moments.

::

    world      an app, its table in the model, its messages; processes that die, requests and answers that get lost
    canvas     one canvas a seed: its messages are delivered late, twice, in any order or never; others act between
    ticks      one or two beats, whose clocks jump
    mutants    the code broken on purpose: the seeds must notice
"""
