"""Circuit breakers in tasks: by attribute for a whole task, as a context manager for one call in a body.

::

    @shared_task(base=ExternalAPITask, bind=True, breaker="payments")   # or breaker=Breaker(name=..., failures=3)
    def charge(self, invoice): ...

    with circuit_breaker("rates"):                                             # in any body
        rates = httpx.get(...).raise_for_status()

While a breaker is open, its jobs are released without charging an attempt, spread over the time after it may close.
Only EXTERNAL failures count. The failure that opens a breaker, and those after it, do not charge an attempt either: the
service failed, not the job.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Final, NoReturn

from celery import Task, current_app
from celery.exceptions import Ignore, Retry

from jobclaim.fleet.breaker import Breaker
from jobclaim.jobs import FailureKind, StoreUnavailable, Suspended, classify
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol.releases import Held
from jobclaim.workers.handle import handle_of

log = get_logger("jobclaim.worker")

SPREAD: Final = 0.5
"""Share of the open time over which jobs start again: all at once would cause the next outage."""
MOST_RETURNS: Final = 1_000
"""How often a job is released uncharged after its own call failed; after that it is charged as usual."""


class BreakerOpen(Ignore):
    """The service counts as down. In a task the job is released automatically; elsewhere the caller handles this.

    Attributes
    ----------
    until : int
        When to try again, epoch milliseconds.
    """

    def __init__(self, breaker: Breaker, until: int) -> None:
        super().__init__(f"breaker {breaker.name!r} is open")
        self.breaker = breaker
        self.until = until


@contextlib.contextmanager
def circuit_breaker(which: str | Breaker, *, task: str = "") -> Iterator[None]:
    """Make a call to an external service under its breaker.

    Raises
    ------
    BreakerOpen
        The service counts as down, possibly since this call's own failure.
    """
    one, breakers = as_breaker(which), handle_of(current_app._get_current_object()).breakers
    if until := ask(breakers, one):
        raise BreakerOpen(one, until)
    try:
        yield
    except Exception as error:
        if until := record_failure(breakers, one, error, task):
            raise BreakerOpen(one, until) from error
        raise
    record_success(breakers, one)


def as_breaker(which: str | Breaker) -> Breaker:
    """Return the breaker itself; a name stands for one with the default figures."""
    return which if isinstance(which, Breaker) else Breaker(name=which)


def ask(breakers: Any, one: Breaker) -> int:
    """Check the breaker, and continue if DynamoDB does not answer: a breaker must not add a cause of failure."""
    try:
        return int(breakers.ask(one))
    except StoreUnavailable as error:
        log.warning("breaker.unavailable", breaker=one.name, reason=str(error))
        return 0


def record_failure(breakers: Any, one: Breaker, error: BaseException, task: str) -> int:
    """Count a failure of the service; return until when the breaker is open then, or 0.

    Any other failure counts as an answer of the service.
    """
    if classify(error, task) is not FailureKind.EXTERNAL:
        record_success(breakers, one)
        return 0
    try:
        return int(breakers.failed(one))
    except StoreUnavailable as unavailable:
        log.warning("breaker.not_updated", breaker=one.name, reason=str(unavailable))
        return 0


def record_success(breakers: Any, one: Breaker) -> None:
    """Record that the service answered."""
    try:
        breakers.succeeded(one)
    except StoreUnavailable as error:
        log.warning("breaker.not_updated", breaker=one.name, reason=str(error))


class GuardedTask(Task):
    """The part of `jobclaim.workers.task.JobTask` for breakers.

    Attributes
    ----------
    breaker : str or Breaker, optional
        Breaker of the service that the whole body depends on.
    """

    abstract = True
    breaker: ClassVar[str | Breaker | None] = None

    def _guard(self) -> None:
        """Release the job before its body while its breaker is open. Raises `celery.exceptions.Ignore` then."""
        if self.breaker is None:
            return
        one = as_breaker(self.breaker)
        if until := ask(self.jobclaim.breakers, one):
            self._hold(BreakerOpen(one, until), started=False)
        if self.jobclaim.repo.clock() >= self.request.job.lease_expires_at:
            reason = "its lease ended before its breaker allowed it to start"
            self._release_claimed(partial(self.jobclaim.repo.release, reason=reason, held=Held.LATE, started=False))
            raise Ignore(reason)

    def _guarded(self, body: Callable[[], Any]) -> Any:
        """Run the body and report its outcome to the breaker."""
        try:
            result = body()
        except BreakerOpen as held:
            self._hold(held)
        except (Ignore, Retry):
            raise
        except Suspended as suspended:
            self._suspended(suspended)
        except Exception as error:
            self._count_for_service(error)
            raise
        if self.breaker is not None:
            record_success(self.jobclaim.breakers, as_breaker(self.breaker))
        return result

    def _count_for_service(self, error: BaseException | None) -> None:
        """Release the job if its service is down, before a retry is charged. Raises `Ignore` then."""
        if self.breaker is None or error is None or getattr(self.request, "service_blamed", None) is error:
            return
        self.request.service_blamed = error
        one = as_breaker(self.breaker)
        until = record_failure(self.jobclaim.breakers, one, error, self.name)
        if until and self.request.job.attempt - self.request.job.charged < MOST_RETURNS:
            self._hold(BreakerOpen(one, until))

    def _hold(self, held: BreakerOpen, *, started: bool = True) -> NoReturn:
        at = held.until + round(random.random() * SPREAD * held.breaker.open_seconds * 1000)
        reason = f"{held}"
        log.info("job.held", why=reason, available_at=at)
        if started:
            self._make_room()
        release = partial(
            self.jobclaim.repo.release, available_at=at, reason=reason, held=Held.BREAKER, started=started
        )
        self._release_claimed(release)
        raise Ignore(reason)
