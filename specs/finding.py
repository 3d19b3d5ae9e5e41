"""A finding of a check of any part of jobclaim: its level, place, meaning and remedy."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """Severity. FAIL: a promise is broken. WARN: works, but costs something or will break. OK: as it should be."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One finding of a check.

    Attributes
    ----------
    check : str
        Name of the check, as in ``--check-duplicates``: ``duplicates``.
    subject : str
        The schedule, task, table or queue concerned.
    file : str
        File relative to the checked folder; empty if only the running system knows it.
    line : int
        0 if it is not known.
    problem, fix : str
        What was found, with its value, and why it matters; what to do, empty if all is well.
    level : Level
    cause : str
        Common cause by which findings of one check are shown as one; empty for a separate finding.
    places : tuple of str
        All places, if the finding stands for several; empty for a single one.
    """

    check: str
    subject: str
    file: str
    line: int
    problem: str
    fix: str
    level: Level = Level.FAIL
    cause: str = ""
    places: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """File and line in the form that editors open."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    @property
    def count(self) -> int:
        """Number of faults that it stands for."""
        return max(1, len(self.places))

    @property
    def fingerprint(self) -> str:
        """Identity that is stable when lines move: check, subject and file."""
        return hashlib.sha256(f"{self.check}\0{self.subject}\0{self.file}".encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Return the JSON record."""
        fields = asdict(self) | {"level": str(self.level), "count": self.count}
        fields["places"] = list(self.places or ((self.place,) if self.place else ()))
        return {**fields, "place": self.place, "fingerprint": self.fingerprint}


def ok(subject: str, problem: str) -> Finding:
    """Return a finding that something deployed is as it should be."""
    return _deployed(Level.OK, subject, problem, "")


def warn(subject: str, problem: str, fix: str) -> Finding:
    """Return a finding that something deployed works, but costs something or will break."""
    return _deployed(Level.WARN, subject, problem, fix)


def fail(subject: str, problem: str, fix: str) -> Finding:
    """Return a finding that something deployed breaks a promise."""
    return _deployed(Level.FAIL, subject, problem, fix)


def _deployed(level: Level, subject: str, problem: str, fix: str) -> Finding:
    return Finding(subject.split(" ", maxsplit=1)[0].lower(), subject, "", 0, problem, fix, level)
