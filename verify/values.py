"""The results that the bodies compute and the verdict expects; a small module, because both import it."""

from __future__ import annotations

from typing import Final

EVIDENCE: Final = "VERIFY_EVIDENCE"
"""Variable that names the file to which bodies append their lines."""
MOST_ATTEMPTS: Final = 6


def value_of(number: int) -> int:
    """Return the result of a body."""
    return 3 * number + 1
