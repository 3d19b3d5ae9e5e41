"""Canvases and ticks over a bad line, with the real tasks; and each way of breaking them is noticed."""

from __future__ import annotations

import pytest

from tests.simulation.flows import canvas, ticks
from tests.simulation.flows.mutants import MUTANTS

SEEDS = 20
WERE_BROKEN = (448, 541)
"""Seeds in which a chord gave up members that an open job had still to send."""


def test_no_canvas_breaks_a_promise() -> None:
    broken = {seed: rule for seed in (*range(SEEDS), *WERE_BROKEN) if (rule := canvas.run(seed))}

    assert not broken


def test_no_tick_breaks_a_promise() -> None:
    broken = {seed: rule for seed in range(SEEDS) if (rule := ticks.run(seed))}

    assert not broken


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_a_canvas_or_a_tick_is_caught(name: str) -> None:
    assert MUTANTS[name].hunt() is not None, f"nothing noticed: {name}"
