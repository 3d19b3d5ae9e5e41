"""The request of a task that is not a `JobTask`, in the worker's main process: its body may hold claims."""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import InvalidTaskError, SoftTimeLimitExceeded, TimeLimitExceeded
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready

from jobclaim.jobs import JobError
from jobclaim.workers.messages.adoption import Unadoptable
from jobclaim.workers.messages.message import DELIVERY, MISADDRESSED, address, is_misaddressed
from jobclaim.workers.process import plain_messages
from jobclaim.workers.process.request import OwnedRequest
from jobclaim.workers.process.unreported import HeldAttempt

logger = get_logger("celery.worker.request")


class PlainRequest(OwnedRequest):
    """A delivery of another task's message: Celery's own request, whose body may hold claims."""

    key = DELIVERY

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refuse_strange()
        self._keep_to_queue()

    def _refuse_strange(self) -> None:
        """Refuse a message that this queue's workers must not run, so that it goes to the dead-letter queue.

        Raises
        ------
        celery.exceptions.InvalidTaskError
        """
        handle, queue = self.app.jobclaim, str(self._delivery_info.get("routing_key") or "")
        if is_misaddressed(self._request_dict):
            why = MISADDRESSED
        elif (where := address(self._request_dict)) is None:
            why = plain_messages.refusal(self.task, handle, queue)
        else:
            why = plain_messages.misused(
                self.task, handle.settings, queue, where.job_id, self._args or (), self._kwargs or {}
            )
        if why:
            raise InvalidTaskError(why)

    def _keep_to_queue(self) -> None:
        """Lower the time limit of a call, or of a task sent to another queue, to what the queue's lease allows."""
        settings, queue = self.app.jobclaim.settings, self._delivery_info.get("routing_key")
        if queue not in settings.queue_names:
            return
        hard, soft = self.time_limits
        limit, most = hard or self.task.time_limit, settings.longest_hard_limit(queue)
        if limit and limit > most:
            soft = soft or self.task.soft_time_limit
            self.time_limits = (most, min(soft, most) if soft else None)
            logger.warning("time_limit=%s of %s[%s] is lowered to its queue's, %s s", limit, self.name, self.id, most)

    def attempts(self) -> list[HeldAttempt]:
        """Return the claims that the body holds, and the message's own job where it was not claimed yet."""
        found, where = super().attempts(), address(self._request_dict)
        if where and where.job_id not in {attempt.job_id for attempt in found}:
            found.append(HeldAttempt(where.job_id, where.attempt, self.token))
        return found

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Handle a time limit; the hard one kills the child right after this call."""
        if not soft:
            self._lost(TimeLimitExceeded(timeout))
        self._as_celery(super().on_timeout, soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Handle a body that raised, which its child has recorded (``return_ok``), or a child that is lost."""
        error = exc_info.exception
        error = error.exc if isinstance(error, ExceptionWithTraceback) else error
        if isinstance(error, Unadoptable):
            task_ready(self)
            self.acknowledged = True
            return self.message.channel.poisoned(self.message, str(error.reason))
        if return_ok:
            if isinstance(error, SoftTimeLimitExceeded):
                self._lost(error, gone=False)  # the limit may have hit before the claim
        elif not isinstance(error, TimeLimitExceeded):  # else `on_timeout` is called next
            self._lost(error)
        task_ready(self)  # a user's Request class may not call Celery's method, and this request would count as running
        return self._as_celery(super().on_failure, exc_info, send_failed_event, return_ok)

    def on_retry(self, exc_info: Any) -> None:
        """Handle jobs that the child has rescheduled; cancel those whose cancellation was requested."""
        super().on_retry(exc_info)
        self._retried()

    def _as_celery(self, handle: Any, *args: Any) -> Any:
        """Call Celery's handler; log a result that cannot be written, because the error would end the event loop."""
        try:
            return handle(*args)
        except JobError as error:
            logger.error("The result of %s[%s] is not written: %s", self.name, self.id, error)
            return None


def of_task(task: Any) -> type[Request]:
    """Return the class of a task's requests: jobclaim's, below the task's own where it has one."""
    request_class = symbol_by_name(task.Request)
    if issubclass(request_class, OwnedRequest):
        return request_class  # type: ignore[no-any-return]
    return (
        PlainRequest
        if request_class is Request
        else type(f"Owned{request_class.__name__}", (PlainRequest, request_class), {})
    )
