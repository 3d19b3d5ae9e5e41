"""The changes of all files in scope, as they are found now."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.mutation.operators import Change, changes
from tests.mutation.scope import AROUND, CORE


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of a file."""

    path: str
    change: Change

    @property
    def name(self) -> str:
        """Its name, which outlives changes elsewhere in the file."""
        return self.change.name


def mutants(only: str = "") -> Iterator[Mutant]:
    """Give all changes that are tried, of the files whose path begins so: the core's first."""
    return (one for one in _all(only) if not one.change.rule)


def drawn(known: Iterable[Mutant]) -> list[Mutant]:
    """Put mutants into an order that is random and always the same: what was tried when time ends is a fair sample."""
    return sorted(known, key=lambda one: hashlib.sha256(one.name.encode()).digest())


def is_core(mutant: Mutant) -> bool:
    """Whether it is in a file of the core."""
    return any(fnmatch(mutant.path, pattern) for pattern in CORE)


def left_out() -> Counter[str]:
    """Count the changes that are not tried, by the rule that leaves them out."""
    return Counter(one.change.rule for one in _all() if one.change.rule)


def _all(only: str = "") -> Iterator[Mutant]:
    paths = dict.fromkeys(path for pattern in (*CORE, *AROUND) for path in sorted(map(str, Path().glob(pattern))))
    for path in paths:
        if path.startswith(only):
            yield from (Mutant(path, change) for change in changes(path, Path(path).read_text()))
