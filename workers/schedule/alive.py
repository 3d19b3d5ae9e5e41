"""Beat's liveness: one file that is touched in each loop, and one that exists while ticks are overdue.

A running loop is not sufficient: a beat whose clock was wrong for a while ran for a day without a tick. So `jobclaim
worker health beat` checks both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jobclaim.jobs.log import get_logger
from jobclaim.specs import run_folder, systemd

log = get_logger("jobclaim.beat")

BEAT: Final = "beat"


def watch(service: Any, folder: Path) -> None:
    """Touch the file now and in each of the scheduler's loops; update the file of overdue schedules after each."""
    path = run_folder.claim(folder) / f"{BEAT}.alive"
    scheduler, tick = service.scheduler, service.scheduler.tick
    late = _Overdue(folder / f"{BEAT}.overdue")

    def touch_and_tick(*args: Any, **kwargs: Any) -> Any:
        path.touch()
        wait = tick(*args, **kwargs)
        if (overdue := getattr(scheduler, "overdue", None)) is not None:  # only jobclaim's own scheduler knows
            late.tell(overdue())
        if not late.any:  # systemd restarts a beat that submits nothing, as ECS does
            systemd.notify(systemd.ALIVE)
        return wait

    scheduler.tick = touch_and_tick
    late.tell([])
    path.touch()
    systemd.notify(systemd.READY)


class _Overdue:
    """The file that names schedules whose ticks are overdue; it does not exist if there are none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reported: list[str] = []

    @property
    def any(self) -> bool:
        """Whether a tick is overdue."""
        return bool(self._reported)

    def tell(self, schedules: list[str]) -> None:
        """Write or remove the file, and log changes."""
        if schedules != self._reported:
            if schedules:
                log.error("schedule.overdue", schedules=schedules)
            else:
                log.info("schedule.recovered", schedules=self._reported)
            self._reported = schedules
        if schedules:
            self._path.write_text("\n".join(schedules))
        else:
            self._path.unlink(missing_ok=True)
