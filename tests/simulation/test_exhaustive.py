"""All orders of events of a small world, with the real code; the larger one takes minutes: ``--exhaustive``."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from jobclaim.jobs.transitions import Move
from tests.simulation.exhaustive.equal import is_void
from tests.simulation.exhaustive.play import Actor, Option, Play, Small
from tests.simulation.exhaustive.search import explore
from tests.simulation.mutants import _Dropping
from tests.support.volume import THOROUGH

SMALL = Small(faults=0, person=False)
FAULTY = Small(faults=1, copies=1, person=False)
WORLDS = [(SMALL, 100), (FAULTY, 500)] if THOROUGH else [(SMALL, 100)]
"""With the states that each has at least; `Watched` goes through the faulty one anyway."""


@pytest.mark.thorough
@pytest.mark.parametrize(("small", "states"), WORLDS)
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


class Watched(Play):
    """Tells apart states that the search takes for equal, and looks whether the same steps lead from both to equal
    ones; and keeps the late requests that it takes for void, and looks whether they stay so."""

    leads: ClassVar[dict[tuple[str, str], str]] = {}
    """Where a step leads from a state."""
    voids: ClassVar[list[int]] = []

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.strikes: list[str] = []
        self.void: list[dict[str, Any]] = []
        self.at = ""

    def options(self) -> list[Option]:
        self.void += [late[2] for late in self.late if is_void(late[2], self.stored(), self.oracle)]
        self.voids.append(len(self.void))
        assert all(is_void(request, self.stored(), self.oracle) for request in self.void)
        options = super().options()
        before, self.at = self.at, super().state()
        if self.choices:
            assert self.leads.setdefault((before, self.choices[-1]), self.at) == self.at, self.choices
        return options

    def state(self) -> str:
        return super().state()[:-1] + f', "{sorted(self.strikes)}"]'

    def _strike(self, actor: Actor, fault: str) -> None:
        self.strikes.append(f"{actor.process.name} {actor.wants}: {fault}")
        super()._strike(actor, fault)


def test_states_that_count_as_equal_lead_to_equal_states_and_void_requests_stay_void() -> None:
    fine = explore(FAULTY, kind=Watched)

    assert (fine.complete, fine.broken) == (True, [])
    assert max(Watched.voids) > 0
    assert fine.states > len({state for state, _ in Watched.leads})
