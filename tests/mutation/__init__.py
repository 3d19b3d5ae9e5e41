"""Mutants by machine: the code, changed in one place at a time, must be noticed by a test, or by the simulation.

::

    operators   every small change of a module's text: a comparison turned, a condition negated, an argument left out
    reach       which tests run which lines, noted once while the tests pass
    loop        one process collects all tests and forks for each change; the child runs what reaches it, then seeds
    swap        the child's functions get the code of their changed selves
    sample      some changes that every run of the tests tries
    survivors   what nothing noticed, each with the reason: it changes nothing, or nothing that is promised

A tool of one's own: mutmut and cosmic-ray start an interpreter, or at least an import of everything, for each change;
a fork of a process that has collected the tests costs a hundredth of that. What is run once at import (tables of
figures, the rows of `jobs.transitions`, which `tests.simulation.mutants` breaks one by one) is not changed here.
"""
