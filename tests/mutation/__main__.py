"""``python -m tests.mutation``: change the code in every place, and see that each change is noticed.

Examples::

    python -m tests.mutation --reach                    # note which tests reach which lines; once
    python -m tests.mutation --reach tests/unit/test_a.py   # the same of new tests, beside what is known
    python -m tests.mutation                            # every change; goes on where it was stopped
    python -m tests.mutation --only jobs/protocol       # those of some files
    python -m tests.mutation --again                    # what survived, by all tests and seeds that reach it
    python -m tests.mutation --score
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from tests.mutation import loop, reach
from tests.mutation.mutants import Mutant, drawn, is_core, left_out, mutants
from tests.mutation.operators import Change
from tests.mutation.scope import arguments
from tests.mutation.survivors import explained

CACHE: Final = Path(".cache/mutation")
FIRST: Final = 80
FAST: Final = 200
"""Tests, and seeds, that a change meets at most before it is set aside for `--again`."""


def results() -> dict[str, str | None]:
    """Give who noticed which mutant, in any run, by name; "" for nobody, ``None`` where it could not be made."""
    lines = [line for file in sorted(CACHE.glob("results*.jsonl")) for line in file.read_text().splitlines()]
    rows = sorted(map(json.loads, lines), key=lambda row: bool(row["by"]))
    return {row["name"]: row["by"] for row in rows}


def tests_of(mutant: Mutant, lines: reach.Lines) -> list[str]:
    """Give the tests that reach a mutant's statement: the fastest, then the others of each file by turns.

    Tests of one file ask much the same, so the first few of each notice most.
    """
    known = lines.get(mutant.path, {})
    numbers = range(mutant.change.first, mutant.change.last + 1)
    found = dict.fromkeys(test for number in numbers for test in known.get(number, ()))
    ranks: Counter[str] = Counter()
    ranked = []
    fastest, others = list(found)[:FIRST], list(found)[FIRST:]
    for test in others:
        file = test.partition("::")[0]
        ranked.append((ranks[file], test))
        ranks[file] += 1
    return [*fastest, *(test for _, test in sorted(ranked, key=lambda pair: pair[0]))]


def hunt(wanted: list[Mutant], lines: reach.Lines, into: Path, *, fast: bool) -> None:
    """Put mutants to the test and note each result."""
    trials = ((one.change, one.path, tests_of(one, lines)) for one in wanted)
    names = {test for file in lines.values() for tests in file.values() for test in tests}
    files = sorted({name.partition("::")[0] for name in names if not name.startswith(reach.SEED)})
    with into.open("a") as file:

        def told(change: Change, by: str | None) -> None:
            file.write(json.dumps({"name": change.name, "by": by}) + "\n")
            file.flush()

        loop.hunt(arguments(files), trials, told, most=FAST if fast else None)


def score(known: list[Mutant], lines: reach.Lines) -> dict[str, Any]:
    """Sum up what is known of mutants, of the core's and of all."""
    core = [one for one in known if is_core(one)]
    return {"left out by rule": dict(left_out()), "core": _score(core, lines), "all": _score(known, lines)}


def _score(known: list[Mutant], lines: reach.Lines) -> dict[str, Any]:
    found, reasons = results(), explained()
    tried = {one.name: one for one in known if found.get(one.name) is not None}
    left = [name for name in tried if not found[name]]
    unreached = {name for name in left if not tests_of(tried[name], lines)}
    return {
        "mutants": len(known),
        "cannot be made": sum(found.get(one.name, "") is None for one in known),
        "tried": len(tried),
        "noticed": len(tried) - len(left),
        "reached by no test of the tool": len(unreached),
        "listed": sum(name in reasons for name in left),
        "unexplained": [name for name in left if name not in reasons and name not in unreached],
    }


@click.command(help=__doc__)
@click.option("--reach", "reaching", is_flag=True, help="Note which tests reach which lines; of TESTS, or of all.")
@click.option("--only", default="", help="Beginning of the path of the files to change.")
@click.option("--again", is_flag=True, help="Only what survived, by all tests and seeds that reach it.")
@click.option("--score", "scoring", is_flag=True, help="Sum up what was found.")
@click.option("--part", default=0, help="With --parts: which of them, from 0.")
@click.option("--parts", default=1, help="Processes that share the work.")
@click.argument("files", nargs=-1, metavar="TESTS")
def main(reaching: bool, only: str, again: bool, scoring: bool, part: int, parts: int, files: Sequence[str]) -> None:
    """Do what the command line asks for."""
    known = list(mutants(only))
    if reaching:
        reach.note(
            sorted({mutant.path for mutant in known}), arguments(files), CACHE / "reach.json", beside=bool(files)
        )
        return
    lines = reach.read(CACHE / "reach.json")
    if scoring:
        click.echo(json.dumps(score(known, lines), indent=2))
        return
    found = results()
    wanted = [one for one in drawn(known) if (found.get(one.name) == "" if again else one.name not in found)]
    wanted.sort(key=is_core, reverse=True)
    hunt(wanted[part::parts], lines, CACHE / f"results-{part}.jsonl", fast=not again)


if __name__ == "__main__":
    main()
