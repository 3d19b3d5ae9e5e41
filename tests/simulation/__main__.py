"""``python -m tests.simulation``: many seeds, or one again with its trace.

Examples::

    python -m tests.simulation --seeds 100000 --processes 2
    python -m tests.simulation --seed 4711
    python -m tests.simulation --seed 4711 --workers 1 --without crash,lag
    python -m tests.simulation --mutants
    python -m tests.simulation --exhaustive --faults 2 --copies 1 --people 0
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import click

from tests.simulation.run import Outcome, run, shrunk
from tests.simulation.scenario import Scenario

CHUNK = 200


def run_seeds(seeds: Iterable[int]) -> tuple[Counter[str], list[Outcome]]:
    """Run seeds; give totals, and the runs that broke a promise."""
    gc.freeze()  # what is imported stays; going through it again and again takes a third of the time
    totals: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        outcome = run(Scenario.of(seed))
        totals.update(seeds=1, jobs=outcome.jobs, bodies=outcome.bodies, sweeps=outcome.sweeps, writes=outcome.writes)
        if outcome.rule:
            failed.append(outcome)
    return totals, failed


def report(failed: Outcome) -> None:
    """Print a failing seed, what it shrinks to, and how to see it again."""
    least = shrunk(failed)
    click.echo(f"seed {failed.scenario.seed}: {least.what}")
    click.echo(f"  python -m tests.simulation {least.scenario.options()}")


def search(first: int, count: int, processes: int) -> int:
    """Run a range of seeds in parallel; give the number of those that failed."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    totals: Counter[str] = Counter()
    failures: list[Outcome] = []
    began = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        for done, failed in pool.map(run_seeds, chunks):
            totals += done
            failures += failed
            for outcome in failed[: max(0, 5 - len(failures) + len(failed))]:
                report(outcome)
            if totals["seeds"] % (5 * CHUNK) == 0:
                click.echo(f"{totals['seeds']} seeds, {len(failures)} failed", err=True)
    figures = ", ".join(f"{count:,} {name}" for name, count in totals.items())
    click.echo(f"{figures} in {time.monotonic() - began:.0f} s: {len(failures)} seeds failed")
    return len(failures)


def explore_all(faults: int, copies: int, *, person: bool) -> int:
    """Explore a small world; give the number of promises that were broken."""
    from tests.simulation.exhaustive.play import Small
    from tests.simulation.exhaustive.search import explore

    found = explore(Small(faults=faults, copies=copies, person=person))
    for broken in found.broken:
        click.echo(broken)
    figures = f"{found.schedules:,} schedules, {found.states:,} states, {found.steps:,} steps"
    click.echo(
        f"{figures}, at most {faults} faults each, in {found.seconds:.0f} s of CPU: {len(found.broken)} violations"
    )
    return len(found.broken)


@click.command(help=__doc__)
@click.option("--seed", type=int, help="Run this one and print its trace.")
@click.option("--seeds", type=int, default=1_000, show_default=True, help="Run that many.")
@click.option("--first", type=int, default=0, show_default=True, help="Where to begin.")
@click.option("--processes", type=int, default=1, show_default=True)
@click.option("--without", default="", help="Faults to leave out, separated by commas.")
@click.option("--mutants", is_flag=True, help="Break the code in every way of the list; each must be caught.")
@click.option("--exhaustive", is_flag=True, help="Every order of events of one job, two workers, a pass and a person.")
@click.option("--faults", type=int, default=2, show_default=True, help="With --exhaustive: at most so many in one run.")
@click.option("--copies", type=int, default=2, show_default=True, help="With --exhaustive: deliveries of its message.")
@click.option("--submitters", type=int)
@click.option("--workers", type=int)
@click.option("--sweepers", type=int)
@click.option("--people", type=int)
def main(
    seed: int | None,
    seeds: int,
    first: int,
    processes: int,
    without: str,
    mutants: bool,
    exhaustive: bool,
    faults: int,
    copies: int,
    **counts: int | None,
) -> None:
    """Run what the command line asks for."""
    if exhaustive:
        sys.exit(4 if explore_all(faults, copies, person=counts["people"] != 0) else 0)
    if mutants:
        from tests.simulation.mutants import hunt_all

        sys.exit(4 if hunt_all() else 0)
    if seed is None:
        sys.exit(4 if search(first, seeds, processes) else 0)
    given = {name: count for name, count in counts.items() if count is not None}
    scenario = replace(Scenario.of(seed), **given).without([name for name in without.split(",") if name])  # type: ignore[arg-type]
    outcome = run(scenario, traced=True)
    click.echo("\n".join(outcome.trace))
    click.echo(f"{scenario}\n{outcome.what or 'no promise was broken'}")
    sys.exit(4 if outcome.rule else 0)


if __name__ == "__main__":
    main()
