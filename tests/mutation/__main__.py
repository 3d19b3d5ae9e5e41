"""``python -m tests.mutation``: change the code in every place, and see that each change is noticed.

Examples::

    python -m tests.mutation --reach                    # note which tests reach which lines; once, and after changes
    python -m tests.mutation                            # every change; goes on where it was stopped
    python -m tests.mutation --only jobs/protocol       # those of some files
    python -m tests.mutation --again                    # what survived, by all tests and more seeds
    python -m tests.mutation --score
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from tests.mutation import loop, reach
from tests.mutation.operators import Change, changes
from tests.mutation.scope import FILES, tests
from tests.mutation.survivors import explained

CACHE: Final = Path(".cache/mutation")
FAST_TESTS, FAST_SEEDS, ALL_SEEDS = 80, 0, 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of a file, and what tells whether its result still counts."""

    path: str
    change: Change

    @property
    def name(self) -> str:
        """Its name, which outlives changes elsewhere in the file."""
        return self.change.name


def mutants(only: str = "") -> Iterator[Mutant]:
    """Give all changes of the files in scope."""
    for pattern in FILES:
        for path in sorted(map(str, Path().glob(pattern))):
            if path.startswith(only):
                found = changes(path, Path(path).read_text())
                yield from (Mutant(path, change) for change in found if not change.imported)


def results() -> dict[str, str]:
    """Give who noticed which mutant, by name; "" for nobody."""
    file = CACHE / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return {row["name"]: row["by"] for row in map(json.loads, lines)}


def tests_of(mutant: Mutant, lines: reach.Lines, most: int | None) -> list[str]:
    """Give the tests that reach a mutant's statement, the fastest first."""
    known = lines.get(mutant.path, {})
    numbers = range(mutant.change.first, mutant.change.last + 1)
    return list(dict.fromkeys(test for number in numbers for test in known.get(number, ())))[:most]


def hunt(wanted: list[Mutant], *, fast: bool) -> int:
    """Put mutants to the test and note each result; give the number that got away."""
    lines, away = reach.read(CACHE / "reach.json"), 0
    trials = ((one.change, one.path, tests_of(one, lines, FAST_TESTS if fast else None)) for one in wanted)
    with (CACHE / "results.jsonl").open("a") as file:

        def told(change: Change, by: str) -> None:
            nonlocal away
            away += not by
            file.write(json.dumps({"name": change.name, "by": by}) + "\n")
            file.flush()

        loop.hunt(tests(), trials, told, seeds=FAST_SEEDS if fast else ALL_SEEDS, note=CACHE / "noticed")
    return away


def score(known: list[Mutant]) -> dict[str, Any]:
    """Sum up what is known of mutants."""
    found, reasons = results(), explained()
    tried = [mutant.name for mutant in known if mutant.name in found]
    left = [name for name in tried if not found[name]]
    return {
        "mutants": len(known),
        "tried": len(tried),
        "noticed": len(tried) - len(left),
        "explained": sum(name in reasons for name in left),
        "unexplained": [name for name in left if name not in reasons],
    }


@click.command(help=__doc__)
@click.option("--reach", "reaching", is_flag=True, help="Note which tests reach which lines.")
@click.option("--only", default="", help="Beginning of the path of the files to change.")
@click.option("--again", is_flag=True, help="Only what survived, by all tests that reach it and more seeds.")
@click.option("--score", "scoring", is_flag=True, help="Sum up what was found.")
@click.option("--sample", type=int, default=0, help="That many, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
def main(reaching: bool, only: str, again: bool, scoring: bool, sample: int, seed: int) -> None:
    """Do what the command line asks for."""
    known = list(mutants(only))
    if reaching:
        reach.note(sorted({mutant.path for mutant in known}), tests(), CACHE / "reach.json")
        return
    if scoring:
        click.echo(json.dumps(score(known), indent=2))
        return
    found = results()
    wanted = [one for one in known if (not found.get(one.name, "-") if again else one.name not in found)]
    if sample:
        wanted = random.Random(seed).sample(known, min(sample, len(known)))
    sys.exit(4 if hunt(wanted, fast=not again) and not again else 0)


if __name__ == "__main__":
    main()
