"""What a check found, of any part of jobclaim: how bad it is, where, what it means, and how to mend it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is: FAIL breaks a promise, WARN costs something or will, OK is as it should be."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that a check says.

    Attributes
    ----------
    check : str
        Name of the check, as in ``--check-duplicates``: ``duplicates``.
    subject : str
        The schedule, task, table or queue that it is about.
    file : str
        Where it is, relative to the folder that was checked; empty where only the running system knows it.
    line : int
        0 where it is not known.
    problem, fix : str
        What was found, with its value, and why that matters; what to do, empty where all is well.
    level : Level
    cause : str
        What findings of one check have in common, so that they are shown as one; empty for one that stands alone.
    places : tuple of str
        All places, where the finding stands for several; empty for a single one.
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
        """File and line, as editors open them."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    @property
    def count(self) -> int:
        """How many faults it stands for."""
        return max(1, len(self.places))

    @property
    def fingerprint(self) -> str:
        """What stays when lines move: check, subject and file."""
        return hashlib.sha256(f"{self.check}\0{self.subject}\0{self.file}".encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Return the JSON record."""
        fields = asdict(self) | {"level": str(self.level), "count": self.count}
        fields["places"] = list(self.places or ((self.place,) if self.place else ()))
        return {**fields, "place": self.place, "fingerprint": self.fingerprint}


def ok(subject: str, problem: str) -> Finding:
    """Say that something deployed is as it should be."""
    return _deployed(Level.OK, subject, problem, "")


def warn(subject: str, problem: str, fix: str) -> Finding:
    """Say that something deployed works, but costs something or will break."""
    return _deployed(Level.WARN, subject, problem, fix)


def fail(subject: str, problem: str, fix: str) -> Finding:
    """Say that something deployed breaks a promise."""
    return _deployed(Level.FAIL, subject, problem, fix)


def _deployed(level: Level, subject: str, problem: str, fix: str) -> Finding:
    return Finding(subject.split(" ", maxsplit=1)[0].lower(), subject, "", 0, problem, fix, level)
