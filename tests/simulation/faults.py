"""When something goes wrong: by the scenario's rates, and never once it is calm."""

from __future__ import annotations

from random import Random

from tests.simulation.scenario import Scenario
from tests.simulation.world import World


class Faults:
    """The faults of one run."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._rates = scenario.rates

    def possible(self, fault: str) -> bool:
        """Whether the scenario has this fault at all."""
        return fault in self._rates

    def strike(self, fault: str, random: Random) -> bool:
        """Whether it happens now."""
        rate = self._rates.get(fault)
        return rate is not None and not self._world.calm and random.random() < rate
