"""What the bodies compute, and what the verdict expects; imported by both, so by no worker's weight."""

from __future__ import annotations


def value_of(number: int) -> int:
    """Give the result of a body."""
    return 3 * number + 1
