"""The liveness file: touched by the event loop, so that a loop that no longer turns lets it grow old."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from celery import bootsteps

from jobclaim.specs import run_folder

TOUCH_SECONDS: Final = 5.0


class Alive(bootsteps.StartStopStep):
    """Worker step that touches the file; `jobclaim worker health` looks at its age."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._path: Path = worker.app.jobclaim.settings.liveness_file
        self._timer: Any = None

    def start(self, worker: Any) -> None:
        """Touch it now and every few seconds."""
        run_folder.claim(self._path.parent)
        self._path.unlink(missing_ok=True)
        self.touch()
        self._timer = worker.timer.call_repeatedly(TOUCH_SECONDS, self.touch)

    def touch(self) -> None:
        """Set its time to now; it holds the process id."""
        if not self._path.exists():
            self._path.write_text(f"{os.getpid()}\n")
        os.utime(self._path)

    def stop(self, worker: Any) -> None:
        """Leave it to grow old while the pool drains: a drain is no reason to kill the container."""
