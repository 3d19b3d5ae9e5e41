"""What the doctor says: one finding per thing looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: FAIL breaks a promise, WARN costs something or will, OK is as it should be."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    level : Level
    subject : str
        Table, queue, task or endpoint.
    what : str
        What was found, with its value.
    remedy : str
        What to do; empty where all is well.
    """

    level: Level
    subject: str
    what: str
    remedy: str = ""


def ok(subject: str, what: str) -> Finding:
    """As it should be."""
    return Finding(Level.OK, subject, what)


def warn(subject: str, what: str, remedy: str) -> Finding:
    """It works, but costs something or will break."""
    return Finding(Level.WARN, subject, what, remedy)


def fail(subject: str, what: str, remedy: str) -> Finding:
    """A promise is broken."""
    return Finding(Level.FAIL, subject, what, remedy)
