"""What `workers.task.JobTask` knows of its links: nothing follows a lost claim; a task may hand its work over."""

from __future__ import annotations

from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Ignore

from jobclaim.jobs import Job
from jobclaim.jobs.storage.resilience import insist_until
from jobclaim.workers.attempt import fence
from jobclaim.workers.attempt.outcome import record_success
from jobclaim.workers.results import links
from jobclaim.workers.results.meta import replaced_by
from jobclaim.workers.submission.typed import plain_result


class LinkedTask(Task):
    """A task whose job may be a step of a chain, a member of a chord, or have callbacks."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; a job whose claim is over by then is ended here, before Celery sends what follows it."""
        request = self.request_stack.top
        if getattr(request, "job", None) is None or request._protected:
            return super().__call__(*args, **kwargs)
        request._protected = 1
        result = plain_result(self._guarded_run(args, kwargs))
        if getattr(request, "cancel_seen", False):
            request.callbacks = request.chain = None  # it ends as cancelled: nothing follows
        elif links.has_followers(request):
            insist_until(request.job.lease_expires_at)  # what follows, as long as the result itself
            fence.check(self.jobclaim.repo, request.job)
        return result

    def replace(self, sig: Any) -> NoReturn:
        """Hand the job's work over to other tasks: Celery's own, and the job is completed.

        The job's id stays with the job, so what takes its place has an id of its own, fixed, and the job's result
        points to it: whoever waits for the one gets what the other gives.

        Raises
        ------
        celery.exceptions.Ignore
            Always: nothing after this call is run.
        """
        request = self.request
        if getattr(request, "job", None) is None:
            super().replace(sig)
        job: Job = request.job
        insist_until(job.lease_expires_at)
        try:
            fence.check(self.jobclaim.repo, job)
            self._hand_over(job, sig)
        finally:
            insist_until(None)
        raise AssertionError("Celery's replace always raises")

    def _hand_over(self, job: Job, sig: Any) -> None:
        request = self.request
        own_id, request.id = request.id, f"{job.job_id}.replaced"
        try:
            super().replace(sig)
        except Ignore:
            record_success(self.jobclaim.repo, job.job_id, job.claim_token, replaced_by(request.id))
            raise
        finally:
            request.id = own_id
