"""Who takes part: submitters, workers, recovery and people, each doing with the real code what the real ones do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import ClaimLost, FailureKind, Job, JobError, JobRepo, RetryPolicy, StoreUnavailable
from jobclaim.jobs.idempotency import IdempotencyService, store_result
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.repo import delivery
from jobclaim.recovery import dead, sweep
from tests.simulation.line import Process, Shared
from tests.simulation.oracle import Body, Oracle
from tests.simulation.queues import TASK, Message, Queue
from tests.simulation.scenario import CROWDED, FAULTY_MS, SWEEP_MS, Scenario
from tests.simulation.world import Crash

ANOTHER_TASK: Final = "another"
KEYS: Final = ("a", "b")
CHOICES: Final = ("complete", "fail", "fail for good", "release", "stop")
BEAT_MS: Final = 10_000
POLL_MS: Final = (500, 2_500)
POLICY: Final = RetryPolicy(max_attempts=None, base=2.0, ceiling=15.0)


@dataclass
class Stage:
    """What the actors of one run share.

    Attributes
    ----------
    job_ids : list of str
        All jobs that were submitted, for people to choose from.
    calm_sweeps : int
        Passes of recovery that began and ended without faults.
    """

    shared: Shared
    scenario: Scenario
    oracle: Oracle
    queue: Queue
    job_ids: list[str]
    calm_sweeps: int = 0
    busy: int = 0

    def process(self, kind: str, number: int, life: int = 0) -> Process:
        """Make a process with random numbers of its own."""
        name = f"{kind}{number}" + (f".{life}" if life else "")
        return Process(self.shared, name, kind, self.shared.world.stream(name))

    def lives(self, kind: str, number: int, live: Callable[[Process], None]) -> Callable[[], None]:
        """Give a process that is started anew whenever it crashes."""

        def run() -> None:
            life = 0
            while True:
                process = self.process(kind, number, life)
                try:
                    live(process)
                except Crash:
                    process.note("CRASHES")
                    life += 1
                    self.shared.world.pause(process.random.choice((100, 2_000, 30_000)))
                else:
                    return

        return run

    def publish(self, process: Process, job: Job, *, named: bool = True) -> None:
        """Send a job's message unless it waits for a time too far ahead; recovery makes up for a failure."""
        if self.scenario.strangers:
            for task in (TASK, ANOTHER_TASK):
                self.queue.forge(job.job_id, job.attempt, task)
        if job.dispatches:
            try:
                delay = max(0, job.available_at - process.clock()) / 1000
                self.queue.send(job.job_id, job.attempt if named else None, delay)
            except ConnectionError:
                process.note(f"{job.job_id[:12]}: message not sent")


# --- submitters
def submit(stage: Stage, process: Process) -> None:
    """Submit one job at some time, again where no answer came, and now and then an equal one."""
    random = process.random
    process.pause(random.randrange(FAULTY_MS // 2))
    options = {
        "max_attempts": 1 if stage.scenario.theme == "letters" else random.choice((1, 2, 3)),
        "on_orphan": random.choice(("fail", "retry", "retry")),
        "idempotency_key" if random.random() < 0.5 else "job_id": random.choice(KEYS),
    }
    if stage.scenario.dense:
        options = {**options, "idempotency_key": KEYS[0]}
        options.pop("job_id", None)
    if "job_id" in options:
        options["job_id"] = process.name
    named = random.random() < 0.7
    for _ in range(random.choice((1, 1, 2, 3))):
        ahead = random.choice((0, 0, 0, 10_000, 950_000 if stage.scenario.far else 30_000))
        times = {"available_at": process.clock() + ahead} if ahead else {}
        if not ahead and random.random() < 0.2:
            times = {"start_by": process.clock() + random.choice((500, 4_000, 20_000))}
        job = _submitted(process.repo(), {**options, **times})
        if job is not None:
            stage.oracle.submitted(job)
            stage.job_ids.append(job.job_id)
            process.note(f"{job.job_id[:12]}: {'submitted' if job.created else 'is there already'}")
            if job.created:
                stage.publish(process, job, named=named)
        process.pause(random.randrange(FAULTY_MS // 3))


def _submitted(repo: JobRepo, options: dict[str, object]) -> Job | None:
    for _ in range(2):
        try:
            return repo.create_job(TASK, **options)  # type: ignore[arg-type]
        except StoreUnavailable:
            continue
    return None


# --- workers
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
        self._beaten_at = 0
        self._tried_at = 0
        self._cancelled: frozenset[str] = frozenset()
        self._running: tuple[str, ...] = ()

    def live(self) -> None:
        """Work until the end of the world."""
        while True:
            self._beat_if_due()
            message = self._stage.queue.receive() if self._may_claim() else None
            if message is None:
                self._process.pause(self._random.randint(*POLL_MS))
            else:
                self._work_on(message)

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
        try:
            job = self._claim(message)
            if job is not None:
                self._stage.oracle.rightful(job, message.task, self._process.shared.world.now)
                self._hold(job)
        except JobError:
            return
        finally:
            delivery.enter(delivery.NOWHERE)

    def _hold(self, job: Job) -> None:
        self._process.token = job.claim_token
        self._running = (job.job_id,)
        body = self._stage.oracle.starts(self._process, job)
        self._stage.busy += 1
        try:
            self._run(job, body)
        finally:
            self._stage.busy -= 1
            body.until = body.until or self._process.shared.world.now
            self._process.token = ""
            self._running = ()

    def _claim(self, message: Message) -> Job | None:
        if self._claims_in_its_body(message):
            delivery.enter(PlainDelivery(self._process.name, message))
            if message.attempt is None:
                claimed, job = self._repo.conditional_update_status_to_processing(message.job_id)
                return job if claimed else None
            return self._repo.claim_job(message.job_id)
        if message.attempt is None and self._random.random() < 0.3:
            claimed, job = self._repo.conditional_update_status_to_processing(message.job_id)
            return job if claimed else None
        return self._repo.claim_job(
            message.job_id, worker_id=self._process.name, attempt=message.attempt, task=message.task, when_due=True
        )

    def _claims_in_its_body(self, message: Message) -> bool:
        """Half of the deliveries are of plain task code. No random number is drawn, so seeds stay what they were."""
        return crc32(f"{self._process.name}/{message.job_id}/{message.attempt}".encode()) % 2 == 0

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
        body.until = self._process.shared.world.now
        self._end(job)

    def _end(self, job: Job) -> None:
        choice = "stop" if job.job_id in self._cancelled else self._choice()
        kind = self._random.choice((FailureKind.TRANSIENT, None)) if choice == "fail" else None
        for _ in range(2):
            try:
                after = self._write_end(job, choice, kind)
            except StoreUnavailable:
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
            return repo.update_status(job.job_id, "COMPLETED", result=[job.attempt])
        if choice == "stop":
            return repo.update_status(job.job_id, "CANCELLED", error="somebody said so")
        if choice == "release":
            return repo.release(job.job_id, available_at=at + 1_000, reason="stopped")
        if choice == "fail" and job.attempts_left:
            delay = POLICY.decide(None, job.charged, random=self._random.random).delay
            return repo.reschedule(job.job_id, available_at=at + round(delay * 1000), error="no")
        return repo.update_status(job.job_id, "FAILED", error="no", kind=kind)


# --- recovery
def recover(stage: Stage, process: Process) -> None:
    """Run a pass every so often."""
    repo = process.repo()

    def send(job: Job, delay: float) -> None:
        stage.queue.send(job.job_id, job.attempt, delay)

    while True:
        process.pause(process.random.randint(SWEEP_MS // 3, SWEEP_MS))
        calm = process.shared.world.calm
        report = sweep(repo, send=send, backlog=lambda queue: stage.queue.backlog())
        stage.calm_sweeps += calm
        process.note(f"pass: { ({name: count for name, count in report.counts().items() if count}) }")


# --- people
def meddle(stage: Stage, process: Process) -> None:
    """Do what people do, a few times, while there are faults."""
    crowded = stage.scenario.theme in CROWDED
    for _ in range(process.random.randint(1, 12 if crowded else 5)):
        process.pause(process.random.randrange(FAULTY_MS // (8 if crowded else 3)))
        if process.shared.world.calm:
            return
        try:
            repo = process.repo()
            job = repo.get_job(_chosen(stage, process))
            acts = (LETTER_ACTS if stage.scenario.theme == "letters" else ACTS).get(str(job.status))
            if acts:
                process.random.choice(acts)(stage, process, repo, job)
        except JobError as error:
            process.note(f"in vain: {type(error).__name__}")


def _key(stage: Stage, process: Process) -> str:
    return process.random.choice(KEYS[:1] if stage.scenario.dense else KEYS)


def _chosen(stage: Stage, process: Process) -> str:
    return process.random.choice(stage.job_ids or ["nothing"])


def _cancel(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    repo.cancel_job(job.job_id)


def _retry(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    stage.publish(process, repo.retry_job(job.job_id))


def _settle(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    if job.dead_state in (DeadState.WAITING, DeadState.SCHEDULED):
        dead.settle(repo, job, process.random.choice(("resolve", "abandon")), by=process.name)


def _start_again(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    after = dead.retry(repo, job, by=process.name)
    if after is not None:
        stage.publish(process, after)


def _clear(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    IdempotencyService(repo).clear_idempotency_key(TASK, _key(stage, process))


def _record(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    store_result(repo, TASK, _key(stage, process), process.name)


def _ask_to_cancel(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    if job.worker_id:
        FleetRecords.of(repo).ask(job.worker_id, job.job_id, "cancel")


ACTS: Final = {
    "PENDING": (_cancel, _record, _record),
    "PROCESSING": (_ask_to_cancel, _retry),
    "COMPLETED": (_clear, _record),
    "FAILED": (_retry, _start_again, _settle, _settle, _record),
    "CANCELLED": (_record, _retry),
}
LETTER_ACTS: Final = {"FAILED": (_retry, _start_again, _settle, _settle), "COMPLETED": (_clear,)}
