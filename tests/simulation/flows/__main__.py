"""``python -m tests.simulation.flows [SEEDS] [FROM]``: run many canvases and ticks, and say which break a rule."""

from __future__ import annotations

import gc
import logging
import sys
import warnings

import click
import structlog

from tests.simulation.flows import canvas, ticks


def main(seeds: int = 5_000, first: int = 0) -> int:
    """Run seeds; gives the number of those that break a rule."""
    gc.freeze()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    broken = 0
    for seed in range(first, first + seeds):
        for name, run in (("canvas", canvas.run), ("ticks", ticks.run)):
            if rule := run(seed):
                broken += 1
                click.echo(f"{name}, seed {seed}: {rule}")
    click.echo(f"{seeds} seeds from {first}: {broken} break a rule")
    return broken


if __name__ == "__main__":
    sys.exit(min(1, main(*map(int, sys.argv[1:]))))
