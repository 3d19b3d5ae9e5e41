"""Every way of the list of breaking the code is noticed: else the simulation would prove nothing."""

from __future__ import annotations

import pytest

from jobclaim.jobs.model import DeadState, JobStatus
from jobclaim.jobs.transitions import Move
from tests.simulation.caught_by import CAUGHT_BY
from tests.simulation.mutants import BACKED, SOURCES, UNPLAYED, Mutant, hunt, mutants
from tests.simulation.reachable import EFFECTS, NEW, implied, reachable
from tests.simulation.run import run
from tests.simulation.scenario import Scenario

LIST = mutants()


@pytest.mark.parametrize("mutant", LIST, ids=[mutant.name for mutant in LIST])
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    caught = hunt(mutant)

    assert caught is not None, f"nothing noticed: {mutant.name}"
    assert not run(caught.scenario).rule, "the seed fails without the mutant too"


def test_the_list_names_every_move() -> None:
    named = {move for move in map(str, Move) if any(mutant.name.startswith(f"{move} without") for mutant in LIST)}

    assert named == set(map(str, Move)) - set(map(str, UNPLAYED))
    assert CAUGHT_BY.keys() <= {mutant.name for mutant in LIST}


def test_a_seed_replays_by_its_options() -> None:
    drawn = Scenario.of(5)

    assert drawn.options() == "--seed 5"
    assert "--workers" in Scenario.of(5)._with("workers", drawn.workers + 1).options()


def test_the_conditions_that_are_not_dropped_alone_are_implied_by_others_in_all_histories_of_a_job() -> None:
    # a job's task never changes, so no history of a job tells it: a stranger's message does ("claim without task")
    strangers = {(Move.CLAIM, "task")}
    assert implied() - strangers == {(Move(move), SOURCES) for move in BACKED}


def test_the_histories_hold_every_state_and_every_move() -> None:
    found = reachable(NEW)

    assert {job.status for job in found} == set(JobStatus)
    assert set(EFFECTS) == set(Move) - UNPLAYED
    assert {job.dead_state for job in found} >= set(DeadState)
