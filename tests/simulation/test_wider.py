"""Each dimension of the simulation notices what the same seeds do not notice without it."""

from __future__ import annotations

import pytest

from tests.simulation.dimensions import DIMENSIONS
from tests.simulation.run import run
from tests.simulation.wider import WIDER, WiderMutant
from tests.support.volume import volume


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", WIDER, ids=[mutant.name for mutant in WIDER])
def test_only_its_dimension_notices_a_mutant(mutant: WiderMutant) -> None:
    noticed = mutant.hunt(wider=True)

    assert noticed is not None, f"nothing noticed: {mutant.name}"
    assert not run(noticed.scenario).rule, "the seed fails without the mutant too"
    assert mutant.hunt(wider=False, seeds=volume(20)) is None


def test_every_dimension_has_a_mutant() -> None:
    assert {mutant.dimension for mutant in WIDER} == set(DIMENSIONS)
