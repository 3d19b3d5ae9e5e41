"""Every way of the list of breaking the code is noticed: else the simulation would prove nothing."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import CAUGHT_BY, Mutant, hunt, mutants
from tests.simulation.run import run
from tests.simulation.scenario import Scenario

LIST = mutants()


@pytest.mark.parametrize("mutant", LIST, ids=[mutant.name for mutant in LIST])
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    caught = hunt(mutant)

    assert caught is not None, f"nothing noticed: {mutant.name}"
    assert not run(caught.scenario).rule, "the seed fails without the mutant too"


def test_the_list_names_every_move() -> None:
    from jobs.transitions import Move

    named = {move for move in map(str, Move) if any(mutant.name.startswith(f"{move} without") for mutant in LIST)}

    assert named == set(map(str, Move))
    assert CAUGHT_BY.keys() <= {mutant.name for mutant in LIST}


def test_a_seed_replays_by_its_options() -> None:
    drawn = Scenario.of(5)

    assert drawn.options() == "--seed 5"
    assert "--workers" in Scenario.of(5)._with("workers", drawn.workers + 1).options()
