"""Pages that results write: a section between two markers; files that are written or, with ``--check``, compared."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from bench.stub import ROOT


def replaced(page: str, begin: str, end: str, section: str, *, name: str, what: str) -> str:
    """Return a page with the section between its markers rewritten.

    Parameters
    ----------
    name, what : str
        The page, and what the section holds, for the error.

    Raises
    ------
    ValueError
        The markers are missing.
    """
    if begin not in page or end not in page:
        raise ValueError(f"{name} lacks the lines {begin!r} and {end!r}; put them where the {what} belongs")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{section}\n{end}{rest.partition(end)[2]}"


def write_or_compare(wanted: Mapping[Path, str], source: Path, program: str) -> int:
    """Write the files that differ, or name them and return 1 if ``--check`` is among the program's arguments."""
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            name, given = path.relative_to(ROOT), source.relative_to(ROOT)
            sys.stdout.write(f"{name} is not what {given} gives; run python -m {program}\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    return 0
