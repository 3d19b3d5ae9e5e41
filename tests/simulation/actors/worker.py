"""Workers: a heartbeat, a message, a claim, a body, an end; one after the other."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import ClaimLost, FailureKind, Job, JobError, RetryPolicy, StoreUnavailable
from jobclaim.jobs.repo import delivery
from tests.simulation.actors.limited import Limited
from tests.simulation.actors.main_process import MainProcess
from tests.simulation.actors.stage import Stage
from tests.simulation.judge.effects import of_completion, once
from tests.simulation.judge.record import Body
from tests.simulation.line import Process
from tests.simulation.queues import Message
from tests.simulation.scenario import CROWDED

CHOICES: Final = ("complete", "fail", "fail for good", "release", "stop")
BEAT_MS: Final = 10_000
POLL_MS: Final = (500, 2_500)
POLICY: Final = RetryPolicy(max_attempts=None, base=2.0, ceiling=15.0)


class PlainDelivery(delivery.Delivery):
    """A message whose task claims in its body: the repo finds out by itself who works on what."""

    def __init__(self, worker_id: str, message: Message) -> None:
        self.worker_id = worker_id
        self.celery_task_id = message.job_id
        self._message = message

    waits = True

    def task_of(self, job_id: str) -> str:
        """What the message says."""
        return self._message.task if job_id == self._message.job_id else ""

    def attempt_of(self, job_id: str) -> int | None:
        """What the message says."""
        return self._message.attempt if job_id == self._message.job_id else None


class Worker:
    """One worker process: a heartbeat, a message, a claim, a body, an end; one after the other."""

    def __init__(self, stage: Stage, process: Process) -> None:
        self._stage = stage
        self._process = process
        self._random = process.random
        self._repo = process.repo()
        self._records = FleetRecords.of(self._repo)
        self._limited = Limited(stage, process, self._repo)
        self._main = MainProcess(stage, process, self._repo)
        self._beaten_at = 0
        self._tried_at = 0
        self._turn = 0
        self._cancelled: frozenset[str] = frozenset()
        self._running: tuple[str, ...] = ()

    def live(self) -> None:
        """Work until the end of the world."""
        while True:
            self._beat_if_due()
            message = self._receive() if self._may_claim() else None
            if message is None:
                self._process.pause(self._random.randint(*POLL_MS))
            else:
                self._work_on(message)

    def _receive(self) -> Message | None:
        """Ask each queue in turn, the other one first each time."""
        queues = list(self._stage.queues.values())
        self._turn = (self._turn + 1) % len(queues)
        return next(
            (message for queue in queues[self._turn :] + queues[: self._turn] if (message := queue.receive())), None
        )

    def _may_claim(self) -> bool:
        open_for = self._repo.settings.claims_stop_after_seconds * 1000
        return self._process.shared.world.now - self._beaten_at < open_for

    def _beat_if_due(self) -> None:
        now = self._process.shared.world.now
        if now - self._tried_at < BEAT_MS:
            return
        self._tried_at = now
        record = WorkerRecord(worker_id=self._process.name, seen_at=self._process.clock(), jobs=self._running)
        done = [job_id for job_id in self._cancelled if job_id not in self._running]
        try:
            answer = self._records.beat(record, done)
        except (ClientError, BotoCoreError):
            return
        self._beaten_at = now  # when it was sent, not when the answer came
        self._cancelled = frozenset(answer.commands)

    def _work_on(self, message: Message) -> None:
        self._process.attempt = message.attempt
        outside = self._claims_outside(message)
        try:
            job = self._claim(message, outside=outside)
            if job is not None:
                self._stage.oracle.rightful(job, message, self._process.shared.world.now, outside=outside)
                if self._limited.admits(job):
                    self._hold(job)
        except JobError:
            return
        finally:
            delivery.enter(delivery.NOWHERE)

    def _hold(self, job: Job) -> None:
        self._process.token = job.claim_token
        self._running = (job.job_id,)
        body = self._stage.oracle.starts(self._process, job)
        self._limited.started(job)
        self._stage.busy += 1
        try:
            self._run(job, body)
        finally:
            self._stage.busy -= 1
            body.until = body.until or self._process.shared.world.now
            self._limited.leave(job)
            self._process.token = ""
            self._running = ()

    def _claim(self, message: Message, *, outside: bool) -> Job | None:
        if self._claims_in_its_body(message):
            delivery.enter(PlainDelivery(self._process.name, message))
            if message.attempt is None:
                claimed, job = self._repo.conditional_update_status_to_processing(message.job_id)
                return job if claimed else None
            return self._repo.claim_job(message.job_id)
        if outside:
            claimed, job = self._repo.conditional_update_status_to_processing(message.job_id)
            return job if claimed else None
        return self._repo.claim_job(
            message.job_id, worker_id=self._process.name, attempt=message.attempt, task=message.task, when_due=True
        )

    def _claims_in_its_body(self, message: Message) -> bool:
        """Half of the deliveries are of plain task code. No random number is drawn, so seeds stay what they were."""
        return crc32(f"{self._process.name}/{message.job_id}/{message.attempt}".encode()) % 2 == 0

    def _hands_over(self, job: Job) -> bool:
        """Half of the completions are written by the main process. No random number is drawn here, either."""
        return crc32(f"{self._process.name}/{job.job_id}/{job.attempt}/handed".encode()) % 2 == 0

    def _claims_outside(self, message: Message) -> bool:
        """Some messages without an attempt are received by a program that is no worker and claims by the id alone."""
        return not self._claims_in_its_body(message) and message.attempt is None and self._random.random() < 0.3

    def _run(self, job: Job, body: Body) -> None:
        self._process.note(f"{job.job_id[:12]}: attempt {job.attempt} starts")
        left = self._random.choice((0, 50, 3_000, 19_000, 19_000))
        if self._stage.scenario.theme == "letters":
            left = min(left, 50)
        if self._stage.scenario.theme == "orphans" and not self._calm and self._random.random() < 0.4:
            left += self._random.randint(15_000, 60_000)  # the hard limit did not end it: the process stood still
            self._process.disturbed_at = self._process.shared.world.now
        while left > 0 and job.job_id not in self._cancelled:
            due = self._tried_at + BEAT_MS - self._process.shared.world.now
            step = min(left, 5_000, max(1, due))
            self._process.pause(step)
            left -= step
            self._beat_if_due()
        well = self._limited.call()
        body.until = self._process.shared.world.now
        if self._main.loses_child():
            if self._random.random() < 0.5:
                self._end(job)
            self._main.record(job)
        else:
            self._end(job, well=well)

    def _end(self, job: Job, *, well: bool = True) -> None:
        choice = "stop" if job.job_id in self._cancelled else self._choice()
        if not well and choice == "complete":
            choice = "fail"
        kind = self._random.choice((FailureKind.TRANSIENT, None)) if choice == "fail" else None
        for _ in range(2):
            self._stage.oracle.intends(job, choice)
            try:
                after = self._write_end(job, choice, kind)
            except StoreUnavailable:
                self._stage.oracle.dropped(self._process, job)
                continue
            except ClaimLost:
                self._process.note(f"{job.job_id[:12]}: claim lost")
                self._stage.oracle.told(job, job.claim_token, None)
                return
            self._stage.oracle.told(job, job.claim_token, str(after.status))
            if after.status == "PENDING":
                self._stage.publish(self._process, after)
            return

    def _choice(self) -> str:
        """What comes of the body; nothing goes on for ever once it is calm."""
        return self._random.choices(CHOICES, self._weights())[0]

    def _weights(self) -> tuple[int, ...]:
        crowded, release = self._stage.scenario.theme in CROWDED, 0 if self._calm else 2
        return 1 if crowded else 5, 4, 4 if crowded else 2, release, 1

    @property
    def _calm(self) -> bool:
        return self._process.shared.world.calm

    def _write_end(self, job: Job, choice: str, kind: FailureKind | None) -> Job:
        repo, at = self._repo, self._process.clock()
        if choice == "complete":
            with_effects = self._stage.oracle.with_effects
            effects = [{"Update": once(of_completion(job.job_id, job.submission))}] if with_effects else []
            if not effects and self._hands_over(job):
                return self._main.complete(job)
            return repo.update_status(job.job_id, "COMPLETED", result=[job.attempt], effects=effects)
        if choice == "stop":
            return repo.update_status(job.job_id, "CANCELLED", error="somebody said so")
        if choice == "release":
            return repo.release(job.job_id, available_at=at + 1_000, reason="stopped")
        if choice == "fail" and job.attempts_left:
            delay = POLICY.decide(None, job.charged, random=self._random.random).delay
            return repo.reschedule(job.job_id, available_at=at + round(delay * 1000), error="no")
        return repo.update_status(job.job_id, "FAILED", error="no", kind=kind)
