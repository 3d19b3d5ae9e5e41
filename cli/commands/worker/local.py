"""Workers of this machine: their files, their health, and how they are started and stopped.

Each has a name and, in `Settings.run_folder`, ``NAME.pid`` (written and removed by Celery), ``NAME.alive`` (touched by
its event loop), ``NAME.log`` and ``NAME.json`` (how it was started, for a restart). Imports neither Celery nor boto3: a
health check runs every few seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobclaim.cli.errors import NotFound, Refused
from jobclaim.cli.host_app import app_name
from jobclaim.settings import Settings
from jobclaim.specs import run_folder, stop_deadline

POLL_SECONDS: Final = 0.1
LOG_TAIL: Final = 15
LOG_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
MAX_SILENCE: Final = 30.0
"""Seconds since the last touch after which an event loop counts as stuck; it touches every five."""
START_SECONDS: Final = 60.0
STOP_SLACK_SECONDS: Final = 10.0
"""How much longer than a worker has to end its end is waited for."""


@dataclass(frozen=True, slots=True)
class Health:
    """Health of a worker, by its liveness file.

    Attributes
    ----------
    ok : bool
    why : str
        Reason in plain text, for a terminal or a container's log.
    """

    ok: bool
    why: str


@dataclass(frozen=True, slots=True)
class LocalWorker:
    """One worker of this machine, running or not."""

    name: str
    folder: Path

    @classmethod
    def of(cls, settings: Settings, name: str | None = None) -> LocalWorker:
        """Return the worker of that name; default: the name in the settings."""
        return cls(name or settings.worker_name, settings.run_folder)

    def file(self, kind: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / f"{self.name}.{kind}"

    @property
    def pid(self) -> int | None:
        """Return its process id; ``None`` if no worker of this name runs."""
        if self.folder.exists():
            run_folder.claim(self.folder)
        try:
            pid = int(self.file("pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if _is_worker(pid) else None

    def health(self, max_silence: float = MAX_SILENCE, *, now: Callable[[], float] = time.time) -> Health:
        """Check the liveness file: the event loop must have touched it in the last ``max_silence`` seconds.

        A beat must also submit: it lists schedules with overdue ticks in a separate file.
        """
        path = self.file("alive")
        try:
            age = now() - path.stat().st_mtime
        except OSError:
            return Health(False, f"worker {self.name!r} does not run on this machine: {path} does not exist")
        if age > max_silence:
            return Health(
                False,
                f"worker {self.name!r} has given no sign of life for {age:.0f} s: its event loop is stuck or has "
                f"ended ({path})",
            )
        if age < -max_silence:
            return Health(
                False,
                f"worker {self.name!r} was last seen {-age:.0f} s in the future: the clock was set back, and its "
                f"event loop has been stuck or has ended since ({path})",
            )
        if overdue := self._overdue():
            return Health(False, f"{self.name!r} does not submit ticks of schedules {', '.join(overdue)}: see its log")
        return Health(True, f"worker {self.name!r} was seen {max(0.0, age):.0f} s ago")

    def _overdue(self) -> list[str]:
        try:
            return self.file("overdue").read_text().splitlines()
        except OSError:
            return []

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout: float = START_SECONDS) -> int:
        """Start it in the background, wait until its event loop runs, and return its process id.

        Raises
        ------
        Refused
            A worker of this name runs already, or it ended or was not ready in time; the message ends with its log.
        """
        if self.pid is not None:
            raise Refused(f"worker {self.name!r} already runs as process {self.pid}; stop or restart it")
        run_folder.claim(self.folder)
        self.file("alive").unlink(missing_ok=True)
        with os.fdopen(os.open(self.file("log"), LOG_FLAGS, 0o600), "ab") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(env), start_new_session=True
            )
        self.file("json").write_text(json.dumps(list(argv)))
        deadline = time.monotonic() + timeout
        while not self.file("alive").exists():
            if process.poll() is not None:
                raise Refused(f"worker {self.name!r} ended with {process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise Refused(f"worker {self.name!r} was not ready within {timeout:g} s:\n{self._log_tail()}")
            time.sleep(POLL_SECONDS)
        return process.pid

    def stop_by(self, at: float) -> None:
        """Set the deadline of its next stop, epoch seconds; `stop` does so itself."""
        stop_deadline.write(stop_deadline.path_of(self.folder, self.name), at)

    def stop(self, seconds: float, *, by: float | None = None) -> bool:
        """Stop it and wait until it has ended; return ``False`` if it does not run.

        Parameters
        ----------
        seconds : float
            How long it has to end.
        by : float, optional
            When it must have ended, epoch seconds; default: after the stop timeout of its settings.

        Raises
        ------
        Refused
            It is still draining `STOP_SLACK_SECONDS` after that; it continues to drain.
        """
        pid = self.pid
        if pid is None:
            return False
        if by is not None:
            self.stop_by(by)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        timeout = seconds + STOP_SLACK_SECONDS
        deadline = time.monotonic() + timeout
        while _is_worker(pid):
            if time.monotonic() > deadline:
                raise Refused(
                    f"worker {self.name!r} (process {pid}) is still draining after {timeout:g} s; wait, or see "
                    f"{self.file('log')}"
                )
            time.sleep(POLL_SECONDS)
        self.file("alive").unlink(missing_ok=True)
        return True

    def last_argv(self) -> list[str]:
        """Return the command line that it was last started with.

        Raises
        ------
        NotFound
            It was never started from here.
        """
        run_folder.claim(self.folder)
        try:
            return [str(word) for word in json.loads(self.file("json").read_text())]
        except (OSError, ValueError):
            raise NotFound(
                f"worker {self.name!r} was never started on this machine; use `jobclaim worker start {self.name} ...`"
            ) from None

    def _log_tail(self) -> str:
        lines = self.file("log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL:])


def run_argv(worker: LocalWorker, queues: Sequence[str], concurrency: int, further: Sequence[str]) -> list[str]:
    """Return program and arguments of `jobclaim worker run`."""
    chosen = [word for queue in queues for word in ("-q", queue)]
    return [
        *(sys.executable, "-m", "jobclaim", "--app", app_name(), "worker", "run", "--name", worker.name),
        *(*chosen, "-c", str(concurrency), "--", *further),
    ]


def celery_argv(worker: LocalWorker, queues: Sequence[str], concurrency: int, further: Sequence[str]) -> list[str]:
    """Return program and arguments of the same worker as Celery's own command line."""
    return [
        *(sys.executable, "-m", "celery", "-A", app_name(), "worker"),
        *("-n", f"{worker.name}@%h", "-Q", ",".join(queues), "-c", str(concurrency)),
        *("--pidfile", str(worker.file("pid"))),
        *further,
    ]


def stop_seconds(settings: Settings, within: int | None) -> float:
    """Return how long a worker has to end: the milliseconds of ``--within``, or else its stop timeout."""
    return settings.stop_timeout_seconds if within is None else within / 1000


def environment(worker: LocalWorker) -> dict[str, str]:
    """Return an environment that gives a worker process its name and folder."""
    return {**os.environ, "JOBCLAIM_WORKER_NAME": worker.name, "JOBCLAIM_RUN_DIR": str(worker.folder)}


def _is_worker(pid: int) -> bool:
    """Check whether a process is alive and a worker: its pid may have been reused."""
    try:
        status, command = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("stat", "cmdline"))
    except OSError:
        return False
    return any(word in command for word in (b"celery", b"jobclaim")) and status.rpartition(b")")[2].split()[0] != b"Z"
