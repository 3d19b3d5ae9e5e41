"""Tasks and their schedules: overrides of their queue's values."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from jobclaim.specs.base import Seconds, Spec
from jobclaim.specs.cron import parse_cron
from jobclaim.specs.dead_letters import DeadLetterRule, FailureKindName
from jobclaim.specs.zones import zone_of

OWN_TASKS: Final = "jobclaim."
"""Prefix of the names of jobclaim's own tasks."""
RECOVERY_SCHEDULE: Final = "jobclaim-recovery"
"""Name of the schedule by which beat runs recovery."""


class TaskSpec(Spec):
    """Where one task goes and how long it may run, if that differs from its queue."""

    queue: str | None = None
    """Queue that the task is routed to; default `Settings.default_queue`."""
    soft_limit: Seconds | None = None
    """Soft limit in seconds; default the queue's."""
    hard_limit: Seconds | None = None
    """Hard limit in seconds; default the queue's. A longer one extends the queue's lease and visibility timeout."""
    critical: bool = False
    """Whether any failure of the task raises an alert."""
    dead_letters: dict[FailureKindName, DeadLetterRule] = Field(default={})
    """Rules by failure kind that override those of `Settings.dead_letters`."""


class ScheduleSpec(Spec):
    """A task that beat submits repeatedly; each tick is one job, however many beats run."""

    task: Annotated[str, Field(min_length=1)]
    """Name of the task."""
    every: Annotated[float, Field(ge=1)] | None = None
    """Seconds between two ticks, counted from the epoch: 3600 is every full hour (UTC)."""
    cron: str | None = None
    """Minute, hour, day of month, month, day of week, as in crontab(5). Either this or ``every``."""
    timezone: str = "UTC"
    """IANA name of the zone that applies to ``cron``. A time skipped by a clock change runs at the next minute that
    exists; a time that occurs twice runs once."""
    args: tuple[Any, ...] = ()
    """Positional arguments of each call."""
    kwargs: dict[str, Any] = Field(default={})
    """Keyword arguments of each call."""
    queue: str | None = None
    """Queue of the jobs; default: where the task is routed."""
    expires: Annotated[float, Field(gt=0)] | None = None
    """Seconds after its time at which a tick that has not started is dropped; default: when the next one is due."""

    @model_validator(mode="after")
    def _one_rhythm(self) -> ScheduleSpec:
        if (self.every is None) == (self.cron is None):
            raise ValueError(f"schedule of {self.task!r} needs either every or cron; give exactly one of them")
        try:
            zone_of(self.timezone)
            if self.cron is not None:
                parse_cron(self.cron)
        except ValueError as error:
            raise ValueError(f"schedule of {self.task!r}: {error}") from None
        if self.every is not None and self.timezone != "UTC":
            raise ValueError(
                f"schedule of {self.task!r}: timezone={self.timezone!r} has no effect with every={self.every:g}, "
                "which counts from the epoch; use cron, or leave timezone out"
            )
        return self


class Limits(Spec):
    """Time limits of a task in seconds."""

    soft: int
    hard: int


NOTHING_SAID: Final = TaskSpec()
"""The spec of a task that the settings do not name."""


def spec_of(task: str, tasks: Mapping[str, TaskSpec]) -> TaskSpec:
    """Return what is configured for a task: by its name, else by the first matching pattern (``"reports.*"``)."""
    exact = tasks.get(task)
    if exact is not None:
        return exact
    return next((spec for name, spec in tasks.items() if fnmatchcase(task, name)), NOTHING_SAID)
