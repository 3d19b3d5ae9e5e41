"""The request as the worker's main process sees it: it knows the claims that the child makes, before they are made.

::

    JobRequest      a `JobTask`'s: the claim has the token that the request created
    PlainRequest    any other task's: its body may claim, and leaves a note of each claim (`workers.state.held`)

For both, the decisions about a lost child are the same.
"""

from __future__ import annotations

from typing import Any, Final

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready
from celery.worker.strategy import default

from jobclaim.jobs.protocol.claims import new_token
from jobclaim.workers.attempt.handing import Handed
from jobclaim.workers.messages.adoption import NotAdopted, Unadoptable, Unanswered
from jobclaim.workers.messages.message import DELIVERY, HEADER, TOKEN, address, delivery_of
from jobclaim.workers.process.unreported import HeldAttempt
from jobclaim.workers.state import worker

logger = get_logger("celery.worker.request")

NOTED: Final = -1
"""Number of an attempt that is known from a note: its message is not sent again."""


def receive(task: Any, app: Any, consumer: Any) -> Any:
    """Return Celery's strategy for a task's messages, without its log line per message: "claim.acquired" says more."""
    return default(task, app, consumer, info=lambda *_, **__: None)


class OwnedRequest(Request):
    """A delivery of a message. Each creates its own token: two deliveries of one message must not share a claim.

    Celery calls it in the event loop, which must not wait for DynamoDB: outcomes that the child cannot record go to the
    `jobclaim.workers.state.worker.Owner`.

    Attributes
    ----------
    settled : bool
        Whether the worker itself ends the attempts, so that the end of their child needs no handling.
    """

    acknowledged: bool = False
    time_limits: tuple[float | None, float | None] = (None, None)
    key: str = TOKEN
    _celerys_on_success = Request.on_success

    def __init_subclass__(cls, **options: Any) -> None:
        """Wrap the ``on_success`` of the class that Celery makes for each task, which does not call ``super()``."""
        super().__init_subclass__(**options)
        defined = vars(cls).get("on_success")
        if defined and "execute_using_pool" in vars(cls):
            cls._celerys_on_success = defined
            del cls.on_success

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for stale in (TOKEN, DELIVERY):  # a retry's message has copies of these fields, from the attempt that retried
            self._request_dict.pop(stale, None)
        self._request_dict[self.key] = new_token()
        self.is_handled = False

    @property
    def token(self) -> str:
        """The claim token of this delivery."""
        return delivery_of(self._request_dict)

    def attempts(self) -> list[HeldAttempt]:
        """Return the attempts that the child holds now, as far as the main process knows."""
        return [HeldAttempt(claim.job_id, NOTED, claim.token) for claim in worker.current().claims_of(self.token)]

    def is_overdue(self, now: float) -> bool:
        """Return whether it has run longer than its hard limit at a given ``time.time()``."""
        limit = self.time_limits[0] or self.task.time_limit
        return bool(limit and self.time_start and now - self.time_start > limit)

    def job_ids(self) -> set[str]:
        """Return the ids of the jobs that the child holds now."""
        return {attempt.job_id for attempt in self.attempts()}

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Handle that a child has accepted it: report the job to the fleet."""
        super().on_accepted(pid, time_accepted)
        if known := worker.current().owner:
            known.started()

    def revoked(self) -> bool:
        """Return whether not to start it; while heartbeats fail, the message goes back to its queue."""
        if not worker.current().may_claim():
            self.reject(requeue=True)
            task_ready(self)
            return True
        return bool(super().revoked())

    def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> Any:
        """Handle the child's answer."""
        return self._celerys_on_success(failed__retval__runtime, **kwargs)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Release the body's jobs at a cold shutdown, before its child is killed."""
        if (known := worker.current().owner) and self.attempts():
            known.release(self)
        else:
            super().cancel(pool, signal, emit_retry)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Cancel every job that the body holds."""
        if (known := worker.current().owner) and self.attempts():
            known.cancel(self)
        else:
            super().terminate(pool, signal)

    def _retried(self) -> None:
        if known := worker.current().owner:
            known.retried(self)

    def _lost(self, error: BaseException, *, gone: bool = True) -> None:
        known = worker.current().owner
        if known is not None and not self.is_handled:
            self.is_handled = True
            known.lost(self, error)
        if gone:
            worker.current().clear(self.token)


class JobRequest(OwnedRequest):
    """A delivery of the message of a `JobTask`'s job."""

    def __init__(self, message: Any, **options: Any) -> None:
        if HEADER in message.headers:  # decoded and checked already; the child need not do it again
            options |= {"body": message.payload, "decoded": True}
        super().__init__(message, **options)
        self._awaits_job = False

    @property
    def job_id(self) -> str:
        """The job's id; a message without one becomes a job under its task id."""
        where = address(self._request_dict)
        return where.job_id if where else str(self.id)

    def attempts(self) -> list[HeldAttempt]:
        """Return the request's own attempt, and those of other claims that its body made."""
        where = address(self._request_dict)
        own = HeldAttempt(self.job_id, where.attempt if where else 0, self.token, self.task, self._context)
        return [own, *super().attempts()]

    def acknowledge(self) -> None:
        """Delete the message, unless no job exists for it yet."""
        if not self._awaits_job:
            super().acknowledge()

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Handle that a child has accepted it; keep its message while no job exists for it yet."""
        self._awaits_job = address(self._request_dict) is None
        super().on_accepted(pid, time_accepted)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Handle a time limit. The soft one is an exception in the child; the hard one kills it after this call."""
        if soft:
            super().on_timeout(soft, timeout)
            return
        task_ready(self)
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
        self._leave()
        self._lost(TimeLimitExceeded(timeout))

    def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> Any:
        """Handle the child's answer."""
        failed, answer, runtime = failed__retval__runtime
        if not failed:
            self._answered()
            answer = self._taken(answer)
        return super().on_success((failed, answer, runtime), **kwargs)

    def _taken(self, answer: Any) -> Any:
        """Return Celery's part of an answer; the outcome that it brings is recorded."""
        if not isinstance(answer, Handed):
            return answer
        known = worker.current().owner
        assert known is not None, "only a child of this process hands an outcome over"
        usual, planned = answer.read()
        known.completed(planned)
        return usual

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Handle an attempt that raised, which its child has recorded (``return_ok``), or a child that is lost."""
        error = exc_info.exception
        error = error.exc if isinstance(error, ExceptionWithTraceback) else error
        if isinstance(error, NotAdopted):
            return self._not_adopted(error)
        if return_ok:
            if isinstance(error, SoftTimeLimitExceeded):
                self._leave()
                # if the limit hit before the claim, the message is deleted and nothing is written
                self._lost(error, gone=False)
            self._answered()
            if isinstance(error, Unanswered) and (known := worker.current().owner):
                known.unanswered(self)
            task_ready(self)  # a user's Request may not call Celery's method, and would count as running
            return super().on_failure(exc_info, send_failed_event, return_ok)
        task_ready(self)
        self._leave()
        if not isinstance(error, TimeLimitExceeded):  # else `on_timeout` is called next
            self._lost(error)
        return None

    def on_retry(self, exc_info: Any) -> None:
        """Handle a job that the child has rescheduled; cancel it if that was requested."""
        self._answered()
        super().on_retry(exc_info)
        self._retried()

    def _answered(self) -> None:
        """Delete the message: the job is written and no longer needs it."""
        self._awaits_job = False
        self.acknowledge()

    def _leave(self) -> None:
        """Leave the message in SQS if it is unknown whether it became a job: it is redelivered after its visibility
        timeout.
        """
        if self._awaits_job and not self.acknowledged:
            self.acknowledged = True  # nothing more to do for it here
            self.message.channel.leave(self.message.delivery_tag)
            logger.warning("The message of %s[%s] is kept, because it could not become a job yet", self.name, self.id)

    def _not_adopted(self, error: NotAdopted) -> None:
        task_ready(self)
        if isinstance(error, Unadoptable):
            self.acknowledged = True
            self.message.channel.poisoned(self.message, str(error.reason))
        elif error.requeue:
            self.reject(requeue=True)
        else:
            self._leave()


def of_job_task(request: Any) -> type[Request]:
    """Return the class of a `JobTask`'s requests: jobclaim's, before the task's own where it has one."""
    request_class = symbol_by_name(request)
    if issubclass(request_class, JobRequest):
        return request_class  # type: ignore[no-any-return]
    return type(f"Job{request_class.__name__}", (JobRequest, request_class), {})
