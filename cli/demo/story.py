"""The demo's scenario: a hundred jobs, thirty duplicates, a lost message, and a worker that is killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from jobclaim.cli.demo.ledger import Body, Evidence, messages_in, read_bodies, read_refusals
from jobclaim.cli.demo.stage import COUNTS, REPORTS, Stage
from jobclaim.cli.demo.tasks import COUNT, FAILED_REPORT, RETRIED_REPORT
from jobclaim.cli.processes import Child
from jobclaim.infra.clients import sqs_client
from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import DEAD_LETTER_SUFFIX
from jobclaim.workers.submission.by_name import submit
from jobclaim.workers.submission.dispatch import publish

JOBS: Final = 100
DUPLICATES: Final = 30
EARLY: Final = 20
"""Duplicates that are sent while their originals are in the queue; the others are sent when their jobs have ended."""
POLL_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 45.0
"""Longest wait for one step; the verdict reports what has not happened by then."""


class Stuck(Exception):
    """A step did not complete in time, or a process ended unexpectedly."""


@dataclass
class Story:
    """Runs the scenario on a stage.

    Parameters
    ----------
    tell : callable
        Called with one line at the start of each step.
    """

    stage: Stage
    tell: Callable[[str], None]
    submitted: list[Job] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    lost: str = ""
    killed: Child | None = None
    orphans: tuple[str, ...] = ()
    _bodies_of_messages: dict[str, str] = field(default_factory=dict)

    def play(self) -> None:
        """Run all steps in order.

        Raises
        ------
        Stuck
        """
        self._lose_a_message()
        self._submit_counts(EARLY)
        self._duplicate_in_the_queue()
        first = self._start_workers()
        self._submit_counts(JOBS - 2 - len(self.submitted))
        self._kill(first)
        self._duplicate_the_done()
        self._retry_what_failed()
        self._settle()

    def evidence(self) -> Evidence:
        """Collect the evidence so far."""
        ids = [job.job_id for job in self.submitted]
        return Evidence(
            wanted_jobs=JOBS,
            wanted_duplicates=DUPLICATES,
            submitted=tuple(ids),
            jobs={job_id: job for job_id in ids if (job := self.stage.repo.table.get(job_id)) is not None},
            bodies=self._signed(),
            refusals=read_refusals(self.stage.logs),
            duplicates=self.duplicates,
            lost=self.lost,
            killed_pid=self.killed.pid if self.killed else 0,
            orphans=self.orphans,
            messages_left=self._messages_left(),
        )

    # --- before any worker runs
    def _lose_a_message(self) -> None:
        self.tell("One job is submitted, and its message deleted before any worker sees it")
        job = self._submit(COUNT, [str(self.stage.signatures), 1_000])
        message = self._receive(1)[0]
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        self.lost = job.job_id

    def _submit_counts(self, number: int) -> None:
        self.tell(f"{number} jobs are submitted")
        for _ in range(number):
            self._submit(COUNT, [str(self.stage.signatures), 1_000 + len(self.submitted)])

    def _duplicate_in_the_queue(self) -> None:
        """Send each waiting message once more, and make the original visible at once: workers can receive both."""
        self.tell(f"{EARLY} of their messages are put into SQS a second time")
        jobs = [job.job_id for job in self.submitted if job.job_id != self.lost]
        for message in self._receive(len(jobs)):
            job_id = next(job_id for job_id in jobs if job_id in _addressed(message["Body"]))
            self._bodies_of_messages[job_id] = message["Body"]
            self._inject(job_id)
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )

    # --- while workers run
    def _start_workers(self) -> Child:
        self.tell("Two workers start, with beat and a worker for recovery")
        first = self.stage.start_worker("worker-1", queues=(COUNTS, REPORTS))
        self.stage.start_worker("worker-2", queues=(COUNTS,))
        self.stage.start_recovery()
        return first

    def _kill(self, victim: Child) -> None:
        """Kill the worker while both of its processes run a report; start another one, as a supervisor would."""
        self._until("the workers run jobs", lambda: len(self._signed()) >= EARLY)
        self.tell("Two long reports are submitted")
        reports = [self._submit(task, [str(self.stage.signatures)]) for task in (RETRIED_REPORT, FAILED_REPORT)]
        ids = {job.job_id for job in reports}
        self._until("both reports run", lambda: ids <= {body.job_id for body in self._signed()})
        self._until("SQS has forgotten both", lambda: not self._messages_left()[REPORTS])
        self.tell("kill -9 for worker-1, which is in the middle of both; another worker is started in its place")
        victim.kill()
        self.killed, self.orphans = victim, tuple(sorted(ids))
        self.stage.start_worker("worker-3", queues=(COUNTS, REPORTS))

    def _duplicate_the_done(self) -> None:
        late = DUPLICATES - EARLY
        known = list(self._bodies_of_messages)
        self._until("enough of them are completed", lambda: sum(map(self._is_completed, known)) >= late)
        self.tell(f"{late} messages of completed jobs are put into SQS once more")
        for job_id in [job_id for job_id in known if self._is_completed(job_id)][:late]:
            self._inject(job_id)

    def _retry_what_failed(self) -> None:
        """Retry the failed report, as a user does with `jobclaim retry`."""
        failed = next(job.job_id for job in self.submitted if job.task == FAILED_REPORT)
        self.tell("Recovery looks for the killed worker's jobs")
        self._until("recovery failed the report", lambda: self._status(failed) is JobStatus.FAILED)
        self.tell("Recovery found them: one is started again, the other is FAILED, and retried now as a person would")
        publish(self.stage.app, self.stage.repo.retry_job(failed))

    def _settle(self) -> None:
        self.tell("Every job ends, and every message is received")
        still_open = [job.job_id for job in self.submitted]

        def all_over() -> bool:
            still_open[:] = [job_id for job_id in still_open if not self._is_completed(job_id)]
            return not still_open and not any(self._messages_left().values()) and self._all_refused()

        self._until("all jobs are over", all_over)

    # --- helpers
    @property
    def _sqs(self) -> Any:
        if not hasattr(self, "_client"):
            self._client = sqs_client(self.stage.settings)
        return self._client

    @property
    def _url(self) -> str:
        return self.stage.queue_urls[COUNTS]

    def _submit(self, task: str, args: list[Any]) -> Job:
        queue = COUNTS if task == COUNT else REPORTS
        job = submit(self.stage.app, self.stage.repo, task, args, {}, queue=queue)
        self.submitted.append(job)
        return job

    def _inject(self, job_id: str) -> None:
        self._sqs.send_message(QueueUrl=self._url, MessageBody=self._bodies_of_messages[job_id])
        self.duplicates[job_id] += 1

    def _receive(self, number: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []

        def enough() -> bool:
            missing = min(10, number - len(messages))
            answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=missing, WaitTimeSeconds=1)
            messages.extend(answer.get("Messages", []))
            return len(messages) >= number

        self._until(f"{number} messages are in the queue", enough)
        return messages

    def _signed(self) -> tuple[Body, ...]:
        return read_bodies(self.stage.signatures)

    def _status(self, job_id: str) -> JobStatus:
        return self.stage.repo.get_job(job_id).status

    def _is_completed(self, job_id: str) -> bool:
        return self._status(job_id) is JobStatus.COMPLETED

    def _all_refused(self) -> bool:
        refusals = read_refusals(self.stage.logs)
        return all(refusals[job_id] >= copies for job_id, copies in self.duplicates.items())

    def _messages_left(self) -> dict[str, int]:
        """Count the jobs' messages and all messages in dead-letter queues, but not recovery's own messages."""
        urls = {name: self.stage.queue_urls[name] for name in (COUNTS, REPORTS)}
        for name in self.stage.settings.queue_names:
            dead = self.stage.settings.physical_name(name) + DEAD_LETTER_SUFFIX
            urls[name + DEAD_LETTER_SUFFIX] = self._sqs.get_queue_url(QueueName=dead)["QueueUrl"]
        return messages_in(self._sqs, urls)

    def _until(self, what: str, predicate: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not predicate():
            died = [child for child in self.stage.dead_children() if child is not self.killed]
            if died:
                raise Stuck(f"{died[0].name} ended with {died[0].exit_status()} before {what}; its log says why")
            if time.monotonic() > deadline:
                raise Stuck(f"waited {PATIENCE_SECONDS:g} s without success until {what}")
            time.sleep(POLL_SECONDS)


def _addressed(body: str) -> str:
    """Return a message's JSON, which holds the job's id; kombu wraps it in base64."""
    import base64
    import binascii

    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, ValueError):
        return body
