"""Carry out the decision about a job: first the conditional write, then the message; and count everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, TypeAlias

from jobclaim.jobs.errors import JobError
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.repo import JobRepo, rescue
from jobclaim.jobs.repo.announcing import announce_failure
from jobclaim.recovery.decide import Action, Dispatch, Expire, Figures, GiveUp, Orphan, Revive, decide, delay_seconds
from jobclaim.workers.telemetry import traces

log = get_logger("jobclaim.recovery")

Send: TypeAlias = Callable[[Job, float], None]
"""Publishes the message of a job's next attempt, delayed by that many seconds."""
Backlog: TypeAlias = Callable[[str], int]
"""Returns the number of messages that wait in a logical queue."""

SEND_FAILURES: Final = 5
"""Consecutive failed sends after which a pass stops sending: SQS is down, and each try is a write to the job."""


class Messages:
    """Sends messages for one pass, and puts off those that would do more harm than good.

    Parameters
    ----------
    cap : int
        Maximum of repeated messages in one pass for a queue with a backlog, whose messages are more likely waiting than
        lost.
    """

    def __init__(self, send: Send, backlog: Backlog, cap: int) -> None:
        self._send = send
        self._backlog = backlog
        self._cap = cap
        self._waiting: dict[str, int | None] = {}
        self._again: Counter[str] = Counter()
        self._failures = 0

    def may_send(self) -> bool:
        """Return whether sending still works: not all of the last few sends failed."""
        return self._failures < SEND_FAILURES

    def may_send_again(self, queue: str) -> bool:
        """Return whether the queue may get one more repeated message in this pass."""
        if self.is_backlogged(queue) and self._again[queue] >= self._cap:
            return False
        self._again[queue] += 1
        return True

    def is_backlogged(self, queue: str) -> bool:
        """Return whether messages wait in the queue; asked once per pass. Unknown counts as yes, to be cautious."""
        if queue not in self._waiting:
            try:
                self._waiting[queue] = self._backlog(queue)
            except Exception as error:  # noqa: BLE001 - a queue that cannot be measured must not stop the others
                log.warning("queue.backlog_unknown", queue=queue, error=type(error).__name__)
                self._waiting[queue] = None
        return self._waiting[queue] != 0

    def send(self, job: Job, delay: int) -> bool:
        """Send a message; return whether it succeeded. A message that was not sent is sent again after the redispatch
        delay.
        """
        try:
            self._send(job, float(delay))
        except Exception as error:  # noqa: BLE001 - after any error the job is PENDING, and a later pass sends it
            self._failures += 1
            log.warning("message.not_sent", error=type(error).__name__, **job.log_context())
            return False
        self._failures = 0
        return True


class JobHandler:
    """Decides on jobs one by one, and carries out and counts the actions.

    Attributes
    ----------
    counts : Counter
        Numbers by the names of `jobclaim.recovery.report.SweepReport`'s fields.
    """

    def __init__(self, repo: JobRepo, messages: Messages, figures: Figures) -> None:
        self.counts: Counter[str] = Counter()
        self._repo = repo
        self._messages = messages
        self._figures = figures

    def handle(self, job: Job) -> bool:
        """Carry out the action for a job; ``False`` if it must be read again because something failed."""
        self.counts["examined"] += 1
        try:
            return self._act(job, decide(job, self._repo.clock(), self._figures))
        except Exception as error:  # noqa: BLE001 - one job that cannot be handled must not keep the others waiting
            self.counts["failed"] += 1
            reason = str(error) if isinstance(error, JobError) else ""
            log.error(
                "recovery.job_failed",
                error=type(error).__name__,
                reason=reason,
                **job.log_context(),
            )
            return False

    def _act(self, job: Job, action: Action) -> bool:
        if isinstance(action, GiveUp) and self._messages.is_backlogged(job.queue):
            # the queue has a backlog: the job's messages most likely wait in it and are not lost
            action = Dispatch(again=True)
        match action:
            case Orphan():
                return self._end_orphan(job, action)
            case Dispatch(again=True):
                return self._dispatch_again(job)
            case Dispatch():
                return self._dispatch_first(job)
            case GiveUp():
                return self._give_up(job, action)
            case Expire():
                return self._expire(job)
            case Revive():
                return self._revive(job)
        return True

    def _end_orphan(self, job: Job, action: Orphan) -> bool:
        move = rescue.orphan_retry if action.retry else rescue.orphan_fail
        after = (rescue.orphan_stop if action.cancelled else move)(self._repo, job, action.failure)
        if after is None:
            return self._refused()
        self.counts["orphaned"] += 1
        log.warning(
            "job.orphaned",
            job_status=str(after.status),
            worker_id=job.worker_id,
            why=action.failure.message,
            **job.log_context(),
        )
        kind = str(action.failure.kind)
        traces.crashed(self._repo.settings, job, "orphan", at=self._repo.clock(), kind=kind, exception="Orphaned")
        if action.retry:
            self.counts["retried"] += 1
            self._send(after)
        else:
            self._notify_links(after)
            announce_failure(self._repo, after)
        return True

    def _dispatch_again(self, job: Job) -> bool:
        # dispatching also extends a payload item that expires soon
        may_wait = not self._repo.table.payloads.ends_soon(job)
        if not self._messages.may_send() or (not self._messages.may_send_again(job.queue) and may_wait):
            self.counts["held"] += 1
            return True
        return self._dispatch(job, "redispatched")

    def _dispatch_first(self, job: Job) -> bool:
        if not self._messages.may_send():
            self.counts["held"] += 1
            return False  # not handled: unless the next pass reads this job again, its message is sent late
        return self._dispatch(job, "scheduled")

    def _dispatch(self, job: Job, counted_as: str) -> bool:
        after = rescue.dispatch(self._repo, job)
        if after is None:
            return self._refused()
        if self._send(after):
            self.counts[counted_as] += 1
            log.info("job.dispatched", dispatches=after.dispatches, **job.log_context())
        return True

    def _give_up(self, job: Job, action: GiveUp) -> bool:
        after = rescue.give_up(self._repo, job, action.failure)
        if after is None:
            return self._refused()
        self._notify_links(after)
        announce_failure(self._repo, after)
        self.counts["given_up"] += 1
        log.error("job.dispatch_limit_reached", why=action.failure.message, **job.log_context())
        return True

    def _expire(self, job: Job) -> bool:
        after = rescue.expire(self._repo, job)
        if after is None:
            return self._refused()
        self._notify_links(after)
        self.counts["expired"] += 1
        log.warning("job.expired", start_by=job.start_by, **job.log_context())
        return True

    def _revive(self, job: Job) -> bool:
        if not self._messages.may_send():
            self.counts["held"] += 1
            return False
        after = rescue.revive(self._repo, job)
        if after is None:
            return self._refused()
        self.counts["revived"] += 1
        log.info("dead_letter.retried", retry=after.dead_retries, **job.log_context())
        self._send(after)
        return True

    def _notify_links(self, job: Job) -> None:
        """Send a message by which a worker notifies the job's chord, chain and error callbacks: recovery does not run
        tasks.
        """
        from jobclaim.workers.messages.links import announcement

        try:
            notification = announcement(self._repo, job)
        except JobError as error:
            log.error("links.not_sent", reason=str(error), **job.log_context())
            return
        if notification is not None:
            self._send(notification)

    def _send(self, job: Job) -> bool:
        sent = self._messages.may_send() and self._messages.send(job, delay_seconds(job, self._repo.clock()))
        self.counts["unsent"] += not sent
        return sent

    def _refused(self) -> bool:
        self.counts["refused"] += 1
        return True
