"""Steps, waits and progress as the compact JSON text that an item stores; empty fields are left out.

Unknown fields are skipped: while a newer version is being deployed, old workers read its items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.rows import record
from jobclaim.jobs.kept import Progress, Release, Step, Wait

SHORT: Final = {
    "name": "n",
    "function": "f",
    "arguments": "h",
    "result": "r",
    "attempt": "a",
    "at": "t",
    "took_ms": "ms",
}
"""Short names of a step's stored fields: an item holds hundreds of them."""
LONG: Final = {short: name for name, short in SHORT.items()}


def encode_steps(steps: Iterable[Step]) -> str:
    """Write finished steps in the order in which they were recorded."""
    return codec.encode([{SHORT[key]: value for key, value in _filled(step).items()} for step in steps], what="steps")


def decode_steps(text: str) -> tuple[Step, ...]:
    """Read what `encode_steps` wrote."""
    return tuple(record(Step, {LONG.get(key, key): value for key, value in row.items()}) for row in codec.decode(text))


def encode_waits(waits: Iterable[Wait]) -> str:
    """Write a job's waits in the order in which they became known."""
    return codec.encode([_filled(wait) for wait in waits], what="waits")


def decode_waits(text: str) -> tuple[Wait, ...]:
    """Read what `encode_waits` wrote."""
    return tuple(record(Wait, row) for row in codec.decode(text))


def encode_progress(progress: Progress) -> str:
    """Write a progress report."""
    return codec.encode(_filled(progress), what="progress")


def decode_progress(text: str) -> Progress:
    """Read what `encode_progress` wrote."""
    return record(Progress, codec.decode(text))


def encode_release(release: Release) -> str:
    """Write why a job waits again."""
    return codec.encode(_filled(release), what="released")


def decode_release(text: str) -> Release:
    """Read what `encode_release` wrote."""
    return record(Release, codec.decode(text))


def _filled(kept: Step | Wait | Progress | Release) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    return {each.name: value for each in fields(kept) if (value := getattr(kept, each.name)) != each.default}
