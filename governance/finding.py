"""Presentation of findings: known ones are left out by a baseline, and those of one cause are grouped."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from jobclaim.specs.finding import Finding

NAMED: Final = 3
"""Subjects that a grouped finding names; its places list all."""


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Merge the findings of one cause into one, with their number and places; return the rest unchanged."""
    alone: list[Finding] = []
    together: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for one in findings:
        if one.cause:
            together[one.check, one.cause].append(one)
        else:
            alone.append(one)
    return sorted([*alone, *(_one(sorted(same)) for same in together.values())])


def _one(same: list[Finding]) -> Finding:
    first = same[0]
    if len(same) == 1:
        return first
    names = ", ".join(one.subject for one in same[:NAMED])
    more = f" and {len(same) - NAMED} more" if len(same) > NAMED else ""
    return replace(
        first,
        subject=first.cause,
        problem=f"{len(same)} times: {first.problem} ({names}{more})",
        places=tuple(one.place or one.subject for one in same),
    )


def read_baseline(path: Path) -> frozenset[str]:
    """Read the fingerprints of findings that are accepted for now.

    Raises
    ------
    ValueError
        It is not a baseline; the message names the file.
    """
    try:
        return frozenset(row["fingerprint"] for row in json.loads(path.read_text())["known"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"baseline {path} cannot be read ({type(error).__name__}: {error}); write it again with --write-baseline"
        ) from error


def write_baseline(path: Path, findings: Iterable[Finding]) -> None:
    """Write a baseline, so that only new findings count from now on."""
    rows = [
        {"fingerprint": one.fingerprint, "check": one.check, "subject": one.subject, "file": one.file}
        for one in sorted(findings)
    ]
    path.write_text(json.dumps({"known": rows}, indent=2) + "\n")
