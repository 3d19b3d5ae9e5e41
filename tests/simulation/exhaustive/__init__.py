"""Every order of events of a small world, with the real code: no seed chooses, all choices are made.

::

    2 workers, 1 pass of recovery, 1 person     greenlets that stop before each request      (play)
    who goes on, what goes wrong, time passes   one choice at each stop                      (play)
    search                                      all choices, depth first, by running again   (search)
    equivalence                                 a state that was seen before is not left twice: store, queue, clock,
                                                late requests, the judge, what each actor asks and what it was answered,
                                                as far as it remembers                       (equal)

The code is deterministic between two requests, so the answers that an actor had, and when, are its state. Requests that
only recovery makes on records that nobody else touches are no choice.
"""
