"""Numbers with what they count, as people write them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number and what it counts: ``1 task``, ``2 tasks``, ``2 schedule entries``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
