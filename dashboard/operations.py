"""Actions on many jobs, run one by one in a thread, with a rate, progress and a list of refusals.

An operation lives in this process. If the process ends, what was done stays done and the remaining jobs are as they
were: starting the same operation again (same filter, same end of its time window) continues with the rest.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from jobclaim.fleet.acting import on_behalf
from jobclaim.jobs import IllegalTransition, JobError
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.log import get_logger
from jobclaim.recovery.dead import ActReport

log = get_logger("jobclaim.dashboard")

AT_ONCE: Final = 2
"""Most concurrent operations; more would only share DynamoDB's throughput."""
KEPT: Final = 50
"""Ended operations that are kept."""

Progress: TypeAlias = Callable[[ActReport], None]
Work: TypeAlias = Callable[["Operation", Progress], ActReport]
"""Acts on the jobs of an operation; calls its second argument with the report so far after each job."""


class Stopped(Exception):
    """A user stopped the operation."""


@dataclass(slots=True)
class Operation:
    """One action on many jobs.

    Attributes
    ----------
    key : str
        Identifies it in URLs.
    selection : hashable
        The selection: the same action on an equal one is the same operation.
    what : str
        The selection in words.
    expected : int
        Jobs that the preview counted; 0 if it did not count all.
    rate : float
        Maximum number of jobs per second.
    report : ActReport
        Its result so far: matched, done, unsent, refused (job id and reason of each).
    state : str
        ``running``, ``done``, ``stopped`` by a user, or ``failed``.
    error : str
        Why it failed, and what to do.
    started_at, ended_at : int
        Epoch milliseconds; 0 for not yet.
    """

    key: str
    verb: str
    selection: Hashable
    what: str
    by: str
    reason: str
    limit: int
    rate: float
    expected: int
    started_at: int
    report: ActReport = field(default_factory=ActReport)
    state: str = "running"
    error: str = ""
    ended_at: int = 0
    stop_asked: bool = False

    @property
    def share(self) -> float | None:
        """Return the share that is done, 0 to 1; ``None`` if the total is unknown."""
        if self.state == "done":
            return 1.0
        most = min(self.expected, self.limit) if self.expected else 0
        return min(1.0, self.report.matched / most) if most else None


class Operations:
    """The operations of this process; thread-safe. Their requests are not metered as part of a page view."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Operation] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(
        self,
        verb: str,
        selection: Hashable,
        work: Work,
        *,
        what: str,
        by: str,
        reason: str,
        limit: int,
        rate: float,
        expected: int = 0,
    ) -> Operation:
        """Start an operation, or return the running one with the same action and filter.

        Raises
        ------
        IllegalTransition
            The maximum of operations runs already.
        """
        with self._lock:
            running = [one for one in self._known.values() if one.state == "running"]
            for one in running:
                if (one.verb, one.selection) == (verb, selection):
                    return one
            if len(running) >= AT_ONCE:
                raise IllegalTransition(
                    f"{AT_ONCE} operations are running already; wait until one of them ends, or stop one: "
                    f"{', '.join(one.key for one in running)}"
                )
            key, now = secrets.token_hex(8), self._clock()
            operation = Operation(key, verb, selection, what, by, reason, limit, rate, expected, now)
            self._known[operation.key] = operation
            self._forget_old()
            thread = threading.Thread(
                target=self._run, args=(operation, work), name=f"dashboard-{operation.key}", daemon=True
            )
            self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()
        return operation

    def get(self, key: str) -> Operation | None:
        """Return an operation of this process."""
        with self._lock:
            return self._known.get(key)

    def all(self) -> list[Operation]:
        """Return all that are kept, the last one started first."""
        with self._lock:
            return list(reversed(self._known.values()))

    def stop(self, key: str) -> bool:
        """Stop an operation after its current job; return whether it runs."""
        operation = self.get(key)
        if operation is None or operation.state != "running":
            return False
        operation.stop_asked = True
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Stop all operations, and wait until they have ended."""
        for operation in self.all():
            operation.stop_asked = True
        for thread in self._threads:
            thread.join(timeout)

    def _run(self, operation: Operation, work: Work) -> None:
        def progress(report: ActReport) -> None:
            operation.report = report
            if operation.stop_asked:
                raise Stopped

        try:
            with on_behalf(operation.by, "dashboard"):
                operation.report = work(operation, progress)
            operation.state = "done"
        except Stopped:
            operation.state = "stopped"
        except JobError as error:
            operation.state, operation.error = "failed", f"{error}; start it again to continue with the rest"
        except Exception as error:
            operation.state, operation.error = "failed", f"{type(error).__name__}; start it again to continue"
            log.exception("operation.failed", error=type(error).__name__)
        finally:
            operation.ended_at = self._clock()

    def _forget_old(self) -> None:
        ended = [key for key, one in self._known.items() if one.state != "running"]
        for key in ended[: max(0, len(ended) - KEPT)]:
            del self._known[key]
