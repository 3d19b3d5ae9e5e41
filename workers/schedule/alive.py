"""Beat's liveness: a file touched in each of its turns, and one that is there while ticks are overdue.

A loop that turns is not enough: a beat whose clock was wrong for a while turned for a day without a tick. So
`jobclaim worker health beat` looks at both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jobclaim.jobs.log import get_logger
from jobclaim.specs import run_folder

log = get_logger("jobclaim.beat")

BEAT: Final = "beat"


def watch(service: Any, folder: Path) -> None:
    """Touch the file now and in each of the scheduler's turns; name overdue schedules in the other one after each."""
    path = run_folder.claim(folder) / f"{BEAT}.alive"
    scheduler, tick = service.scheduler, service.scheduler.tick
    late = _Overdue(folder / f"{BEAT}.overdue")

    def touch_and_tick(*args: Any, **kwargs: Any) -> Any:
        path.touch()
        wait = tick(*args, **kwargs)
        if (overdue := getattr(scheduler, "overdue", None)) is not None:  # only our own scheduler knows
            late.tell(overdue())
        return wait

    scheduler.tick = touch_and_tick
    late.tell([])
    path.touch()


class _Overdue:
    """The file that names schedules whose ticks are overdue; there is none while all is well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: list[str] = []

    def tell(self, schedules: list[str]) -> None:
        """Write it, log what changed, or remove it."""
        if schedules != self._told:
            if schedules:
                log.error("schedule.overdue", schedules=schedules)
            else:
                log.info("schedule.recovered", schedules=self._told)
            self._told = schedules
        if schedules:
            self._path.write_text("\n".join(schedules))
        else:
            self._path.unlink(missing_ok=True)
