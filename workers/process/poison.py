"""Handle poison messages, which no worker can run: keep them as dead letters, or send the job's message again.

A message that cannot be read is kept, even where it names a job: anyone who may send to the queue can write it. The job
is left alone, and recovery sends its own message again.

A job whose task is not registered here may be known to another worker: while a new version is rolled out, the old one
meets tasks that only the new one has. So its message is sent again, later each time, and the job fails when it has had
`Settings.max_dispatches` messages.

Either way the message leaves the queue, so it cannot be redelivered forever. Where SQS or DynamoDB is unavailable it
is left alone: it is redelivered after its visibility timeout, and SQS's redrive policy moves it away after
`max_receive_count` deliveries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from jobclaim.jobs import ClaimLost, FailureKind, InvalidInput, Job, JobNotFound, JobStatus
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.releases import Held, release_of
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.repo.claiming import early
from jobclaim.settings import SQS_MAX_DELAY, dead_letters_of
from jobclaim.workers.messages.message import Address, address
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.results import notifying
from jobclaim.workers.state import worker
from jobclaim.workers.submission.dispatch import publish

if TYPE_CHECKING:
    from celery import Celery

    from jobclaim.workers.transport.poisoned import Poisoned

log = get_logger("jobclaim.poison")

MAX_REASON: Final = 500
FIRST_DELAY_SECONDS: Final = 5
"""Seconds until another worker may receive the message of a task that is not registered here; doubled with each
message.
"""


class PoisonHandler:
    """Handles poison messages in a thread of its own: a slow DynamoDB must not block the worker's event loop.

    Parameters
    ----------
    app : Celery
    sqs : callable
        Returns a boto3 SQS client.
    delete : callable
        Deletes a message by its queue's URL and its receipt.
    """

    def __init__(self, app: Celery, sqs: Callable[[], Any], delete: Callable[[str, str], None]) -> None:
        self._app = app
        self._sqs = sqs
        self._delete = delete
        self._recorder: Recorder | None = None
        self._warned: set[str] = set()

    def put(self, poisoned: Poisoned) -> None:
        """Enqueue a message; return at once."""
        if self._recorder is None:
            self._recorder = Recorder(threads=1)
        self._recorder.submit(lambda: self.handle(poisoned))

    def flush(self, seconds: float) -> None:
        """Wait until every message enqueued so far is handled."""
        if self._recorder is not None:
            self._recorder.flush(seconds)

    def handle(self, poisoned: Poisoned) -> None:
        """Handle one message."""
        where = address(poisoned.headers)
        try:
            kept = self._end(poisoned, where)
        except Exception as error:  # noqa: BLE001 - after any error the message stays where it is
            log.error("poison.not_moved", queue=poisoned.queue, reason=poisoned.reason, error=f"{error}")
            return
        self._delete(poisoned.queue_url, poisoned.receipt)
        if kept:
            job_id = where.job_id if where is not None else None
            log.error("poison.moved", queue=poisoned.queue, reason=poisoned.reason, kept_in=kept, job_id=job_id)

    def _end(self, poisoned: Poisoned, where: Address | None) -> str:
        """Return where the message is kept now; empty if it was sent again, for a worker that knows its task.

        A message that cannot be read, or whose job has another task or queue, is kept and the job is left alone:
        anyone who may send to the queue can forge one, and recovery sends the job's own message again.
        """
        job = self._job_of(poisoned, where) if where is not None and poisoned.unregistered else None
        if where is None or job is None:
            return self._keep(poisoned)
        repo = self._app.jobclaim.repo
        waits = job.status is JobStatus.PENDING and job.attempt == where.attempt
        if waits and not lifecycle.is_late(job, repo.clock()) and job.dispatches < repo.settings.max_dispatches:
            self._send_later(job, poisoned.reason)
            return ""
        return "job" if self._fail(where, job.task, poisoned.reason) else self._keep(poisoned)

    def _job_of(self, poisoned: Poisoned, where: Address) -> Job | None:
        """Return the job whose own message this may be: of the same task and queue, and due; else ``None``."""
        repo = self._app.jobclaim.repo
        try:
            job: Job = repo.get_job(where.job_id)
        except (JobNotFound, InvalidInput):
            return None
        same = job.task == poisoned.headers.get("task") and poisoned.queue in ("", job.queue)
        return None if not same or early(job, repo.clock()) else job

    def _send_later(self, job: Job, reason: str) -> None:
        """Send the message again after a while, without a claim: no attempt is begun, so none is charged.

        A copy that comes while the last one sent is still delayed is dropped: copies must not use up a job's messages.
        """
        repo = self._app.jobclaim.repo
        last_delay = delay_seconds(job.dispatches - 1) if job.dispatches > 1 else 0
        if repo.clock() < job.dispatched_at + last_delay * 1000 // 2:
            log.info("message.dropped_copy", **job.log_context())
            return
        held = release_of(job, Held.UNKNOWN_TASK, reason, repo.clock())
        counted = rescue.dispatch(repo, job, held)
        if counted is not None:
            delay = delay_seconds(counted.dispatches - 1)
            publish(self._app, counted, delay)
            self._log_forwarded(counted, reason, delay)

    def _log_forwarded(self, job: Job, reason: str, delay: int) -> None:
        """Warn once per task: a deployment may bring thousands of its jobs before the last old worker has ended."""
        if job.task in self._warned:
            log.info("message.forwarded", delay_seconds=delay, **job.log_context())
            return
        self._warned.add(job.task)
        log.warning("task.unregistered", reason=reason, delay_seconds=delay, **job.log_context())

    def _fail(self, where: Address, task: str, reason: str) -> bool:
        """Fail the attempt that the message is for, and log it.

        ``False`` if there is no such job, or it is another task's or not due: it is left alone.
        """
        repo, seen = self._app.jobclaim.repo, list[Job]()
        try:
            job = repo.claim_job(
                where.job_id,
                attempt=where.attempt,
                worker_id=worker.current().worker_id,
                refused=seen.append,
                task=task,
                when_due=True,
            )
            if any(other.task != task or early(other, repo.clock()) for other in seen):
                return False
            for refused in seen:
                notifying.notify_expired(self._app, refused)
            if job is not None:  # else the message is stale: its attempt has been claimed, or has ended
                failed = repo.update_status(
                    job.job_id, JobStatus.FAILED, error=reason, kind=FailureKind.CONFIGURATION, token=job.claim_token
                )
                notifying.notify(self._app, failed)
        except (JobNotFound, InvalidInput):  # InvalidInput: the id is not a valid job id
            return False
        except ClaimLost:
            log.warning("poison.claim_lost", job_id=where.job_id)
        return True

    def _keep(self, poisoned: Poisoned) -> str:
        """Send the unchanged body to the queue's dead-letter queue."""
        url = dead_letters_of(poisoned.queue_url)
        attributes = {"Reason": poisoned.reason, "Queue": poisoned.queue or "?"}
        self._sqs().send_message(
            QueueUrl=url,
            MessageBody=poisoned.body or "(empty)",
            MessageAttributes={
                name: {"DataType": "String", "StringValue": _plain(text)} for name, text in attributes.items()
            },
        )
        return url.rsplit("/", 1)[-1]


def delay_seconds(messages: int) -> int:
    """Return the seconds until the message of a task that is not registered here is delivered again."""
    return min(SQS_MAX_DELAY, FIRST_DELAY_SECONDS << min(max(0, messages - 1), 10))


def _plain(text: str) -> str:
    """Keep only the characters that SQS accepts in an attribute."""
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in text)[:MAX_REASON] or "?"
