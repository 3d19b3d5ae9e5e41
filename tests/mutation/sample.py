"""``python -m tests.mutation.sample``: a few changes of each of some files, put to the test at every run of the tests.

They are drawn by their names, so that they stay the same as long as the code that they change does. Exits with 4 if a
change is not noticed and not listed in ``survivors.toml``: write a test that notices it, or list it with the reason.

Files of tests may be named, which are to notice the changes in place of the usual ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final

import click

from tests.mutation import loop
from tests.mutation.mutants import drawn, mutants
from tests.mutation.operators import Change
from tests.mutation.reach import SEED
from tests.mutation.survivors import explained
from tests.support.volume import volume

EACH: Final = volume(2)
TESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs/recognition.py": ("tests/unit/test_jobs_recognition.py",),
    "jobs/protocol/lifecycle.py": ("tests/unit/test_jobs_moves.py", "tests/unit/test_jobs_lifecycle.py"),
    "jobs/protocol/durable.py": ("tests/unit/test_jobs_moves.py",),
    "jobs/protocol/claims.py": ("tests/unit/test_jobs_claims.py",),
    "recovery/decide.py": ("tests/unit/test_recovery_decide.py",),
    "jobs/repo/claiming.py": ("tests/contract/test_life.py", "tests/contract/test_late_claims.py"),
}
"""What is to notice the changes of a file, the seeds below apart."""
SEEDS: Final = tuple(f"{SEED}{seed}" for seed in range(6))


@click.command(help=__doc__)
@click.option("--path", "paths", multiple=True, default=tuple(TESTS), help="Only the changes of that file.")
@click.argument("tests", nargs=-1)
def main(paths: Sequence[str], tests: Sequence[str]) -> None:
    """Try the sample, and say who noticed what."""
    away: list[str] = []

    def told(change: Change, by: str | None) -> None:
        click.echo(f"{change.name}: {by or 'not noticed'}", err=True)
        if not by and change.name not in explained():
            away.append(change.name)

    wanted = {path: tests or (*TESTS[path], *SEEDS) for path in paths}
    trials = ((one.change, path, wanted[path]) for path in paths for one in drawn(mutants(path))[:EACH])
    files = sorted({file for names in wanted.values() for file in names if not file.startswith(SEED)})
    loop.hunt([*files, "-k", "not dynamodb-local and not moto"], trials, told)
    sys.exit(4 if away else 0)


if __name__ == "__main__":
    main()
