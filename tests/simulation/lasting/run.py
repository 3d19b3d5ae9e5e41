"""Who acts: owners and zombies, a second process with the same claim, recovery, resumers and people."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from jobclaim.jobs import Failure, FailureKind, IllegalTransition, Job, JobError, JobRepo, JobStatus, WaitTimeout
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.repo.running import Running
from jobclaim.recovery.decide import Dispatch, Figures, decide
from tests.simulation.lasting.judge import Broken
from tests.simulation.lasting.world import ACTS, JOB, KEY, SETTINGS, Crash, Focus, World, Writer

STEPS: Final = ("a", "b", "c")
WAITS: Final = ("w", "x")
ANY: Final = Focus()
LOST: Final = Failure(kind=FailureKind.ORPHANED, message="lease over")


@dataclass
class Owner:
    """A process that claimed the job; it may have lost its claim long since."""

    repo: JobRepo
    job: Job
    writer: Writer
    twins: list[JobRepo] = field(default_factory=list)

    def running(self, repo: JobRepo) -> Running:
        """The body, in this process or in another one that was given the token."""
        return repo.running(JOB, token=self.job.claim_token)


class Stage:
    """The actors of one world."""

    def __init__(self, world: World) -> None:
        self.world, self.random = world, world.random
        self.owners: list[Owner] = []
        self._payloads = 0
        self._acts = world.focus.acts or tuple(self.random.choice((1, 3, 10)) for _ in range(5))
        self._ways = world.focus.ways or tuple(self.random.choice((1, 3, 10)) for _ in range(5))
        """How often who acts, and how often bodies do what: each seed has a life of its own."""
        world.act = self.act

    def act(self) -> None:
        """Let somebody do something."""
        acts: tuple[Callable[[], None], ...] = (self.claim, self.body, self.recover, self.resume, self.decide)
        with suppress(JobError, Crash):
            self.random.choices(acts, self._acts)[0]()
        if self.random.random() < 0.3:
            self.world.clock.advance(self.random.choice((0.001, 1, 5, 10, 400)))

    def submit(self) -> None:
        """Submit the job, anew where it has ended."""
        self.world.repo(Writer("submitter")).create_job("t", {"n": 1}, idempotency_key=KEY, ttl=0.001, max_attempts=5)

    def claim(self) -> None:
        """Claim it in a new process."""
        writer = Writer("owner")
        repo = self.world.repo(writer)
        job = repo.claim_job(JOB, when_due=self.random.random() < 0.5)
        if job is not None:
            writer.token = job.claim_token
            self.owners.append(Owner(repo, job, writer))

    def body(self) -> None:
        """Let a body go on, whether or not its claim is over."""
        if not self.owners:
            return
        owner = self.random.choice(self.owners[-3:])
        try:
            self._go_on(owner)
        except Crash:
            with suppress(ValueError):
                self.owners.remove(owner)

    def _go_on(self, owner: Owner) -> None:
        repo = owner.repo
        if self.random.random() < 0.25:
            repo = self._twin(owner)
        acts = (self._step, self._tell, self._wait, self._token, self._end)
        self.random.choices(acts, self._ways)[0](owner, repo)

    def _twin(self, owner: Owner) -> JobRepo:
        if not owner.twins or self.random.random() < 0.3:
            owner.twins.append(self.world.repo(owner.writer))
        return self.random.choice(owner.twins)

    def _step(self, owner: Owner, repo: JobRepo) -> None:
        name, token = self.random.choice(STEPS), owner.job.claim_token

        def work() -> int:
            self.world.judge.runs(token, name)
            self.world.meanwhile()
            return len(name)

        owner.running(repo).step(name, work)

    def _tell(self, owner: Owner, repo: JobRepo) -> None:
        done = self.random.randint(0, 9)
        owner.running(repo).progress(done, 9, checkpoint=done)

    def _wait(self, owner: Owner, repo: JobRepo) -> None:
        name, running = self.random.choice(WAITS), owner.running(repo)
        if self.random.random() < 0.2:
            running.wake_at(self.world.clock() + 5_000, name="nap")
            return
        life = self.world.judge.life
        try:
            wait = running.wait(name, timeout=self.random.choice((1, 5, 3_000)))
        except WaitTimeout:
            self.world.judge.body_was_late(running.job, name)
            return
        current = self.world.judge.stored
        if wait is None or current is None or life != self.world.judge.life:
            return
        if current.submission == running.job.submission:
            self.world.judge.body_got(running.job, wait)

    def _token(self, owner: Owner, repo: JobRepo) -> None:
        owner.running(repo).wait_token(self.random.choice(WAITS))

    def _end(self, owner: Owner, repo: JobRepo) -> None:
        token = owner.job.claim_token
        end = self.random.choice(("retry", "release", "fail", "complete"))
        if end == "retry":
            repo.reschedule(JOB, error="no", token=token, available_at=self.world.clock() + 60_000)
        elif end == "release":
            repo.release(JOB, token=token)
        elif end == "fail":
            repo.update_status(JOB, "FAILED", error="no", token=token)
        else:
            repo.update_status(JOB, "COMPLETED", token=token)
        with suppress(ValueError):
            self.owners.remove(owner)

    def recover(self) -> None:
        """Decide on the job as it is, and now and then take a living worker for lost."""
        repo = self.world.repo(Writer("recovery"))
        job = repo.get_job(JOB)
        if job.status is JobStatus.PROCESSING and self.random.random() < 0.5:
            (rescue.orphan_retry if self.random.random() < 0.8 else rescue.orphan_fail)(repo, job, LOST)
        elif job.status is JobStatus.PENDING:
            action = decide(job, self.world.clock(), Figures(SETTINGS))
            if isinstance(action, Dispatch) or self.random.random() < 0.2:  # or it read the index as it was before
                rescue.dispatch(repo, job)

    def resume(self) -> None:
        """Resume it with something that nobody else brings."""
        self._payloads += 1
        name, payload, life = self.random.choice(WAITS), self._payloads, self.world.judge.life
        self.world.repo(Writer("resumer")).resume(JOB, name, payload)
        if life == self.world.judge.life:
            self.world.judge.acknowledged(life, name, payload)

    def decide(self) -> None:
        """Retry a failed job, or run an ended one anew, or cancel it."""
        repo = self.world.repo(Writer("person"))
        job = repo.get_job(JOB)
        if job.status is JobStatus.FAILED:
            repo.retry_job(JOB, clear_steps=self.random.random() < 0.3)
        elif not job.status.is_open:
            self.submit()
        elif job.status is JobStatus.PENDING and self.random.random() < 0.1:
            with suppress(IllegalTransition):
                repo.cancel_job(JOB)


def run(seed: int, focus: Focus = ANY) -> str:
    """Run one seed; gives the rule that it broke, or nothing."""
    world = World(seed, focus)
    stage = Stage(world)
    try:
        while not world.item():
            with suppress(Crash, JobError):
                stage.submit()
        for _ in range(ACTS):
            stage.act()
    except Broken as broken:
        return str(broken)
    return ""
