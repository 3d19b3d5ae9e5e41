"""Rules about bodies and about answers: who may start, how often, when, with what, and what its owner is told."""

from __future__ import annotations

from typing import Any, Final

from jobclaim.jobs import Job
from jobclaim.jobs.repo.claiming import EARLY_MS
from tests.simulation.judge.facts import require
from tests.simulation.judge.record import Body, Record
from tests.simulation.line import Process
from tests.simulation.queues import Message
from tests.simulation.scenario import LARGE_BYTES, SKEW_MS

EARLIEST_MS: Final = 2 * SKEW_MS + 1_000
"""How early a body may start by its own message: by how much two clocks differ, and a second for rounding."""
EARLIEST_BY_STRANGERS_MS: Final = EARLY_MS + EARLIEST_MS
"""How early by a message that says nothing of its attempt, or that a stranger sent."""


PLANTED: Final = ("former", "next")
"""Jobs that another release has submitted."""


class BodyJudge(Record):
    """Counts bodies itself: no counter that is stored is asked."""

    def starts(self, process: Process, job: Job) -> Body:
        """Take note that a body starts."""
        in_time = process.clock() < job.lease_expires_at
        require(in_time, "no body starts after its lease", f"{job.job_id}: attempt {job.attempt}")
        bodies, since = self.bodies[job.job_id], self.claimed_at[job.job_id, job.claim_token]
        require(job.attempt not in bodies, "one body per attempt", f"{job.job_id}: attempt {job.attempt} again")
        for attempt, other in bodies.items():
            both_well = other.undisturbed and process.disturbed_at < since
            require(not both_well, "no two bodies at once", f"{job.job_id}: {attempt} and {job.attempt}")
        self.charged[job.submission] += 1
        most, so_far = self.allowed[job.submission], self.charged[job.submission]
        require(so_far <= most, "never over the maximum", f"{job.job_id}: body {so_far} of a run that may have {most}")
        large = self.scenario.dimensions & {"large", "beside"}
        wanted = self.payload_of(job.idempotency_key or job.job_id) if large else None
        given = job.payload == wanted or job.job_id in PLANTED
        require(given, "a body gets what was submitted", f"{job.job_id}: {str(job.payload)[:60]}")
        self.started += 1
        bodies[job.attempt] = Body(process, since)
        return bodies[job.attempt]

    def payload_of(self, name: str) -> Any:
        """Give what a submission under a name has as its payload."""
        return {"of": name, "more": "x" * LARGE_BYTES}

    def rightful(self, job: Job, message: Message, now: int, *, outside: bool = False) -> None:
        """Judge a claim by what the job says, whatever the message said; one outside workers asks for no due time."""
        own = job.task == message.task
        require(own, "a job runs its own task only", f"{job.job_id}: {message.task} runs, not {job.task}")
        if outside:
            return
        by_itself = message.attempt is not None and not message.forged
        most, early = EARLIEST_MS if by_itself else EARLIEST_BY_STRANGERS_MS, job.available_at - now
        require(early <= most, "no job starts before its time", f"{job.job_id}: {early} ms too early")

    def intends(self, job: Job, choice: str) -> None:
        """Take note of what a claim's owner is about to write: a body that gives its job back does not count."""
        self.meant[job.claim_token] = choice

    def dropped(self, process: Process, job: Job) -> None:
        """Judge that an owner gave up writing its end, because DynamoDB did not answer: not while its lease lasts."""
        left = job.lease_expires_at - process.clock()
        require(left <= 0, "finished work is not dropped", f"{job.job_id}: {left} ms of its lease were left")

    def told(self, job: Job, token: str, status: str | None) -> None:
        """Judge the answer that a claim's owner got: the state it wrote, or ``None`` for `ClaimLost`.

        Three limits: whoever asks again only after TTL has deleted the job, or after an equal submission took the
        completed job's place, finds no trace of it, nor of a release after another one, for the history keeps the last
        of several.
        """
        found = self.ended.get((job.job_id, token))
        replaced = found == "COMPLETED" and self.current[job.job_id] != job.submission
        gone_on = found == "PENDING" and self.attempts[job.job_id] > job.attempt
        if status is None and (job.job_id in self.deleted or replaced or gone_on):
            return
        require(found == status, "owners learn the truth", f"{job.job_id}: told {status}, and it was {found}")

    def submitted(self, job: Job) -> None:
        """Judge the answer that a submitter got."""
        if job.created:
            made = self.submissions.get(job.submission) == job.job_id
            require(made, "a submission that was accepted is stored", job.job_id)
