"""Log events that alarms stand on: the metric filters of `template.yaml`. A renamed event is renamed here."""

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
    """One metric made of log lines.

    Attributes
    ----------
    metric : str
        Its name in CloudWatch.
    event : str
        The lines' ``event``.
    field : str, optional
        Number in the line that is added up; default: lines are counted.
    """

    metric: str
    event: str
    field: str | None = None

    @property
    def pattern(self) -> str:
        """CloudWatch's filter; a field must be above zero, so that a quiet pass makes no data point."""
        event = f'$.event = "{self.event}"'
        return f"{{ {event} && $.{self.field} > 0 }}" if self.field else f"{{ {event} }}"

    @property
    def value(self) -> str:
        """What a line adds to the metric."""
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
