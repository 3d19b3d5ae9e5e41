"""Log events that alarms depend on: the metric filters of `template.yaml`. Rename an event here too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLAIMED: Final = "claim.acquired"
CLAIM_REFUSED: Final = "claim.refused"
COMPLETED: Final = "job.completed"
FAILED: Final = "job.failed"
SWEPT: Final = "recovery.pass_completed"


@dataclass(frozen=True, slots=True)
class Signal:
    """One metric computed from log lines.

    Attributes
    ----------
    metric : str
        Its name in CloudWatch.
    event : str
        The lines' ``event``.
    field : str, optional
        Numeric field of the line that is summed; default: lines are counted.
    """

    metric: str
    event: str
    field: str | None = None

    @property
    def pattern(self) -> str:
        """Return CloudWatch's filter pattern; a field must be above zero, so that an idle pass adds no data point."""
        event = f'$.event = "{self.event}"'
        return f"{{ {event} && $.{self.field} > 0 }}" if self.field else f"{{ {event} }}"

    @property
    def value(self) -> str:
        """Return what a line adds to the metric."""
        return f"$.{self.field}" if self.field else "1"


SIGNALS: Final = (
    Signal("Claims", CLAIMED),
    Signal("RefusedClaims", CLAIM_REFUSED),
    Signal("Completed", COMPLETED),
    Signal("Failed", FAILED),
    Signal("RecoveryPasses", SWEPT),
    Signal("Orphans", SWEPT, "orphaned"),
    Signal("Redispatched", SWEPT, "redispatched"),
    Signal("DeadWorkers", SWEPT, "dead_workers"),
)
