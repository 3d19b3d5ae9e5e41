"""Beat's liveness file: touched before each tick; `jobclaim worker health beat` looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

BEAT: Final = "beat"


def watch(service: Any, run_folder: Path) -> None:
    """Touch the file now, and before each of the scheduler's ticks."""
    path = run_folder / f"{BEAT}.alive"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scheduler, tick = service.scheduler, service.scheduler.tick

    def touch_and_tick(*args: Any, **kwargs: Any) -> Any:
        path.touch()
        return tick(*args, **kwargs)

    scheduler.tick = touch_and_tick
    path.touch()
