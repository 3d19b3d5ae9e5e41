"""ECS task scale-in protection: a worker that holds jobs is not stopped when a service scales in."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any, Final

from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.ecs")

CHECK_SECONDS: Final = 0.5
"""Seconds between two checks whether the worker is busy; the agent is only called when that changes."""
IDLE_SECONDS: Final = 5.0
"""Seconds without a job after which a worker counts as idle: spares the agent a call per job."""
EXPIRES_MINUTES: Final = 60
"""A protection that is not renewed expires after this time."""
RENEW_SECONDS: Final = 900.0
RETRY_SECONDS: Final = 2.0


def agent_url() -> str | None:
    """Return the address of the agent's protection endpoint; ``None`` outside ECS, which sets the variable."""
    base = os.environ.get("ECS_AGENT_URI")
    return f"{base}/task-protection/v1/state" if base else None


class Protection:
    """Notifies the ECS agent when the worker becomes busy or idle, from a thread of its own.

    Parameters
    ----------
    busy : callable
        Whether the worker holds a job or a message.
    idle_seconds : float
        How long it must hold none before the protection ends.
    """

    def __init__(
        self,
        url: str,
        busy: Callable[[], bool],
        *,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._busy = busy
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._protected = False
        self._set_at = 0.0
        self._busy_at = float("-inf")
        self._retry_at = float("-inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ecs-protection", daemon=True)

    def start(self) -> None:
        """Start checking."""
        self._thread.start()

    def stop(self) -> None:
        """End the protection: the task is stopping."""
        self._stopped.set()
        self._thread.join(CHECK_SECONDS + RETRY_SECONDS)
        if self._protected:
            self._set(False)

    def check(self) -> None:
        """Call the agent if its state is outdated or about to expire."""
        now = self._clock()
        if self._busy():
            self._busy_at = now
        protect = now - self._busy_at < self._idle_seconds
        stale = self._protected and now - self._set_at >= RENEW_SECONDS
        if (protect != self._protected or (protect and stale)) and now >= self._retry_at:
            self._set(protect)

    def _set(self, on: bool) -> None:
        body: dict[str, Any] = {"ProtectionEnabled": on}
        if on:
            body["ExpiresInMinutes"] = EXPIRES_MINUTES
        request = urllib.request.Request(  # noqa: S310 - the address comes from ECS
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=RETRY_SECONDS) as answer:  # noqa: S310
                failure = json.load(answer).get("failure")
        except Exception as error:  # noqa: BLE001 - an incomplete or unexpected answer is tried again, like an error
            failure = str(error) or type(error).__name__
        if failure:
            self._retry_at = self._clock() + RETRY_SECONDS
            log.warning("protection.not_changed", wanted=on, reason=str(failure))
            return
        self._protected, self._set_at = on, self._clock()
        log.info("protection.changed", on=on)

    def _run(self) -> None:
        while not self._stopped.wait(CHECK_SECONDS):
            try:
                self.check()
            except Exception:
                log.exception("protection.failed")
