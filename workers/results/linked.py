"""The part of `workers.task.JobTask` for its links: nothing follows a lost claim; a task may replace itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from celery import states
from celery.exceptions import Ignore
from kombu.exceptions import EncodeError

from jobclaim.jobs import InvalidPayload, Job, StoreUnavailable
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.storage.resilience import retry_until
from jobclaim.workers.attempt import fence
from jobclaim.workers.attempt.coroutines import refuse_awaitable
from jobclaim.workers.attempt.effects import EffectfulTask
from jobclaim.workers.attempt.outcome import record_success
from jobclaim.workers.messages import links
from jobclaim.workers.messages.envelope import is_left_out
from jobclaim.workers.results import followups
from jobclaim.workers.results.meta import replaced_by
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.submission.typed import plain_result

log = get_logger("jobclaim.worker")


class LinkedTask(EffectfulTask):
    """A task whose job may be a step of a chain, a member of a chord, or have callbacks."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body of a claimed job with its own request, which Celery's method does only in a worker."""
        request = self.request_stack.top
        if getattr(request, "job", None) is None or request._protected:
            return super().__call__(*args, **kwargs)
        request._protected = 1
        return self.run(*args, **kwargs)

    def _conclude(self, request: Any, body: Callable[[], Any]) -> Any:
        """Run the body; a job whose claim has ended by then ends here, before Celery sends what follows it."""
        result = plain_result(self._returned(request, body))
        refuse_awaitable(result, self.name)
        if getattr(request, "cancel_seen", False):
            request.callbacks = request.chain = None  # it ends CANCELLED: nothing follows
        elif self._has_effects():
            self._complete_with_effects(result)
        elif links.has_followers(request):
            # requests are retried for as long as the one that writes the result
            retry_until(request.job.lease_expires_at)
            fence.check(self.jobclaim.repo, request.job)
            self._check_result(result)
            followups.send(self.app, request, result)
            request.callbacks = request.chain = None  # so that Celery does not send it again
        return result

    def _returned(self, request: Any, body: Callable[[], Any]) -> Any:
        """Return the body's result, or what it set by ``update_state("SUCCESS")`` before it raised `Ignore`."""
        try:
            return self._guarded(body)
        except Ignore:
            state, meta = getattr(request, "final_state", None) or ("", None)
            if state != states.SUCCESS or not self.jobclaim.repo.holds(request.job):
                raise
            return meta

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
        """Return the result handle of a call of this task; a chord distinguishes it from a plain task's."""
        result = super().AsyncResult(task_id, **kwargs)
        result.is_job = True
        return result

    def restore_links(self, job: Job) -> None:
        """Put the links that did not fit the message into the request; where S3 does not answer, release the job."""
        if not is_left_out(job.envelope):
            return
        try:
            links.restore(self.request, job, self.jobclaim.repo.large)
        except StoreUnavailable as error:
            log.error("links.unavailable", reason=str(error), **job.log_context())
            released = self.jobclaim.repo.release(
                job.job_id,
                reason="what follows it could not be read",
                held=Held.STORE,
                started=False,
                token=job.claim_token,
            )
            publish_if_due(self.app, released)
            raise Ignore(str(error)) from error

    def refused(self, task_id: str | None, options: Mapping[str, Any], error: BaseException) -> Any:
        """Fail a follow-up of another task under its own id; for any other call, raise ``error``."""
        if not followups.take(self.app, self.name, task_id, options, error):
            raise error
        return self.AsyncResult(str(task_id))

    def _check_result(self, result: Any) -> None:
        """Fail a job whose result cannot be stored, before anything follows from it."""
        settings = self.jobclaim.settings
        limit = None if self.jobclaim.repo.large.enabled else settings.max_result_bytes
        try:
            codec.encode(result, what="result", limit=limit)
        except InvalidPayload as error:
            raise EncodeError(f"the task's return value cannot be stored: {error}") from error

    def replace(self, sig: Any) -> NoReturn:
        """Replace the job by other tasks, as Celery's method does; the job is completed.

        The job keeps its id, so its replacement gets an id of its own, derived from it, and the job's result points to
        that: a caller that waits for the job gets the replacement's result.

        Raises
        ------
        celery.exceptions.Ignore
            Always: nothing after this call is run.
        """
        request = self.request
        if getattr(request, "job", None) is None:
            super().replace(sig)
        self._refuse_effects("replace()")
        job: Job = request.job
        retry_until(job.lease_expires_at)
        try:
            fence.check(self.jobclaim.repo, job)
            self._hand_over(job, sig)
        finally:
            retry_until(None)
        raise AssertionError("Celery's replace always raises")

    def _hand_over(self, job: Job, sig: Any) -> None:
        request = self.request
        own_id, request.id = request.id, f"{job.job_id}{links.REPLACED}"
        try:
            super().replace(sig)
        except Ignore:
            record_success(self.jobclaim.repo, job.job_id, job.claim_token, replaced_by(request.id))
            raise
        finally:
            request.id = own_id
