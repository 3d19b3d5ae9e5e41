"""The liveness file, and systemd's watchdog: the event loop updates both, and no longer when it hangs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from celery import bootsteps, signals

from jobclaim.specs import run_folder, systemd

TOUCH_SECONDS: Final = 5.0


class Alive(bootsteps.StartStopStep):
    """Worker step that touches the file; `jobclaim worker health` checks its age."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._path: Path = worker.app.jobclaim.settings.liveness_file
        self._timer: Any = None

    def start(self, worker: Any) -> None:
        """Touch the file now and every few seconds."""
        run_folder.claim(self._path.parent)
        self._path.unlink(missing_ok=True)
        self.touch()
        signals.worker_ready.connect(_ready, weak=False)
        signals.worker_shutdown.connect(self._ended, sender=worker, weak=False)
        self._timer = worker.timer.call_repeatedly(TOUCH_SECONDS, self.touch)

    def touch(self) -> None:
        """Set its time to now; it holds the process id."""
        if not self._path.exists():
            self._path.write_text(f"{os.getpid()}\n")
        os.utime(self._path)
        systemd.notify(systemd.ALIVE)

    def stop(self, worker: Any) -> None:
        """Leave the file as it is: it becomes stale while the pool drains, and a drain is not a reason to kill the
        container.
        """

    def _ended(self, **_: Any) -> None:
        """Remove the file after the drain, because a stopped worker must not count as healthy."""
        self._path.unlink(missing_ok=True)


def _ready(**_: Any) -> None:
    systemd.notify(systemd.READY)
