"""Automatic retries of failed jobs, by the kind of failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from jobclaim.specs.base import Spec

FailureKindName = Literal["TRANSIENT", "EXTERNAL", "CONFIGURATION", "PERMANENT", "TIMEOUT", "ORPHANED", "CANCELLED"]


class DeadLetterRule(Spec):
    """How often and when recovery retries a failed job automatically, before it awaits a person."""

    retries: Annotated[int, Field(ge=0, le=20)]
    """Number of automatic retries; 0 for none."""
    after_seconds: Annotated[float, Field(gt=0, le=2_592_000)] = 300.0
    """Seconds from the failure to the first retry."""
    factor: Annotated[float, Field(ge=1, le=100)] = 4.0
    """Factor by which each further delay grows."""

    def delay_seconds(self, done: int) -> float | None:
        """Return the seconds from a failure to the next retry after ``done`` retries; ``None`` if none is left."""
        if done >= self.retries:
            return None
        return min(self.after_seconds * self.factor**done, 2_592_000.0)


DEAD_LETTER_RULES: Final[Mapping[str, DeadLetterRule]] = {
    "TRANSIENT": DeadLetterRule(retries=5, after_seconds=300, factor=4),
    "EXTERNAL": DeadLetterRule(retries=3, after_seconds=3600, factor=3),
    "CONFIGURATION": DeadLetterRule(retries=1, after_seconds=7200),
}
"""Defaults: 5 min to 21 h, 1 h to 9 h, 2 h; every other kind awaits a person at once."""


def rule_for(kind: str, *more: Mapping[FailureKindName, DeadLetterRule]) -> DeadLetterRule:
    """Return the rule of a kind: from the last mapping that has one, else `DEAD_LETTER_RULES`, else no retry."""
    known: dict[str, DeadLetterRule] = dict(DEAD_LETTER_RULES)
    for rules in more:
        known.update({str(name): rule for name, rule in rules.items()})
    return known.get(kind, DeadLetterRule(retries=0))
