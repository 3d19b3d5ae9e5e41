"""All orders of events of a small world, with the real code; the larger one takes minutes: ``--exhaustive``."""

from __future__ import annotations

import pytest

from jobclaim.jobs.transitions import Move
from tests.simulation.exhaustive.play import Small
from tests.simulation.exhaustive.search import explore
from tests.simulation.mutants import _Dropping

SMALL = Small(faults=0, person=False)
FAULTY = Small(faults=1, copies=1, person=False)


@pytest.mark.parametrize(("small", "states"), [(SMALL, 100), (FAULTY, 500)])
def test_no_order_of_events_of_a_small_world_breaks_a_promise(small: Small, states: int) -> None:
    found = explore(small)

    assert found.complete
    assert not found.broken
    assert found.states > states


def test_a_fence_that_is_missing_is_found() -> None:
    with _Dropping(Move.COMPLETE, ("claim_token",))():
        found = explore(SMALL, most_broken=1)

    assert "the current claim writes the end" in found.broken[0]


def test_an_order_of_events_is_the_same_run_every_time() -> None:
    first, second = explore(Small(faults=0, copies=1, person=False)), explore(Small(faults=0, copies=1, person=False))

    assert (first.schedules, first.states, first.steps) == (second.schedules, second.states, second.steps)
