"""Error messages for refused settings, with a suggestion when a name is nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UnknownQueue(ValueError):
    """The settings have no queue of that name."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Suggest the closest known name; empty if none is as similar as `cutoff` (0 to 1, see `difflib`)."""
    close = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f", did you mean {close[0]!r}?" if close else ""


def not_among(name: str, known: Iterable[str]) -> str:
    """Say that a queue is not configured, which queues are, and what to do."""
    return f"is not among the queues {list(known)}{did_you_mean(name, known)}; add a QueueSpec or correct the name"


def refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse the first name that is not known.

    Raises
    ------
    ValueError
        The message names the field, its place, and the closest known field.
    """
    names = list(known)
    for key in given:
        if key not in names:
            raise ValueError(
                f"unknown field {key!r} in {where}{did_you_mean(key, names)}; see the fields in settings.py"
            )


def check_limits(owner: str, soft: int, hard: int) -> None:
    """Refuse a soft time limit that is not below the hard one.

    Raises
    ------
    ValueError
        The message names the owner and both limits.
    """
    if soft >= hard:
        raise ValueError(
            f"{owner}: soft_limit={soft} must be below hard_limit={hard}, otherwise the task is killed before it can "
            "clean up; lower soft_limit or raise hard_limit"
        )
