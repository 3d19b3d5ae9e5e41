"""Steps recorded once, waits resumed once, over many small worlds; and each way of breaking their moves is noticed."""

from __future__ import annotations

import pytest

from jobclaim.jobs.transitions import TRANSITIONS, Move
from tests.simulation.lasting.mutants import LIKELY, MOVES, hunt, mutants
from tests.simulation.lasting.run import ANY, run
from tests.simulation.mutants import UNPLAYED

SEEDS = 60
NAMES = sorted(mutants())


def test_no_rule_breaks_in_small_worlds() -> None:
    broken = {seed: rule for seed in range(SEEDS) if (rule := run(seed))}

    assert not broken


@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_of_a_lasting_move_is_caught(name: str) -> None:
    caught = hunt(name)

    assert caught is not None, f"nothing noticed: {name}"
    assert not run(caught[0], LIKELY.get(name, ANY)), "the seed fails without the mutant too"


def test_every_guard_of_every_lasting_move_is_dropped() -> None:
    dropped = {(move, guard) for move in MOVES for guard in TRANSITIONS[move].guards}

    assert {f"{move} without" for move, _ in dropped} <= {name.partition(" without")[0] + " without" for name in NAMES}
    assert all(any(name.startswith(f"{move} without") and guard in name for name in NAMES) for move, guard in dropped)
    assert set(MOVES) == UNPLAYED - {Move.SUBMIT_WITH_WRITES, Move.COMPLETE_WITH_EFFECTS}
