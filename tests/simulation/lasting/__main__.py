"""``python -m tests.simulation.lasting [SEEDS] [FROM]``: run many small worlds, and say which break a rule."""

from __future__ import annotations

import logging
import sys

import click

from tests.simulation.lasting.run import run


def main(seeds: int = 20_000, first: int = 0) -> int:
    """Run seeds; gives the number of those that break a rule."""
    logging.disable(logging.CRITICAL)
    broken = 0
    for seed in range(first, first + seeds):
        if rule := run(seed):
            broken += 1
            click.echo(f"seed {seed}: {rule}")
    click.echo(f"{seeds} seeds from {first}: {broken} break a rule")
    return broken


if __name__ == "__main__":
    sys.exit(min(1, main(*map(int, sys.argv[1:]))))
