"""What the bodies compute, and what the verdict expects; imported by both, so by no worker's weight."""

from __future__ import annotations

from typing import Final

EVIDENCE: Final = "VERIFY_EVIDENCE"
"""Variable that names the file to which bodies append their lines."""
MOST_ATTEMPTS: Final = 6


def value_of(number: int) -> int:
    """Give the result of a body."""
    return 3 * number + 1
