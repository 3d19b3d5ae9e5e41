"""What a check found: where, what it means, and how to mend it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One fault.

    Attributes
    ----------
    check : str
        Name of the check, as in ``--check-duplicates``: ``duplicates``.
    subject : str
        The schedule, task or queue that it is about.
    file : str
        Where it is, relative to the folder that was checked; empty where only the running app knows it.
    line : int
        0 where it is not known.
    problem, fix : str
        What is wrong and why that matters; what to do.
    """

    check: str
    subject: str
    file: str
    line: int
    problem: str
    fix: str

    @property
    def place(self) -> str:
        """File and line, as editors open them."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    @property
    def fingerprint(self) -> str:
        """What stays when lines move: check, subject and file."""
        return hashlib.sha256(f"{self.check}\0{self.subject}\0{self.file}".encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Give the JSON record."""
        return {**asdict(self), "place": self.place, "fingerprint": self.fingerprint}


def read_baseline(path: Path) -> frozenset[str]:
    """Read the fingerprints of faults that are known and accepted for now.

    Raises
    ------
    ValueError
        It is no baseline; the message names the file.
    """
    try:
        return frozenset(row["fingerprint"] for row in json.loads(path.read_text())["known"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"baseline {path} cannot be read ({type(error).__name__}: {error}); write it anew with --write-baseline"
        ) from error


def write_baseline(path: Path, findings: Iterable[Finding]) -> None:
    """Write a baseline: from now on only new faults count."""
    rows = [
        {"fingerprint": one.fingerprint, "check": one.check, "subject": one.subject, "file": one.file}
        for one in sorted(findings)
    ]
    path.write_text(json.dumps({"known": rows}, indent=2) + "\n")
