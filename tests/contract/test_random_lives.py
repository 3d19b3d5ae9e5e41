"""Random lives: whatever order things happen in, only legal moves are made and the store agrees with what was said."""

from __future__ import annotations

from typing import Any

import boto3
import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from moto import mock_aws

from jobclaim.jobs import ClaimLost, Failure, FailureKind, IllegalTransition, Job, JobRepo, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.encoding.item import DECODERS, place
from jobclaim.jobs.model import HISTORY_LIMIT
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import rescue
from tests.contract.stores import LossyClient, Store
from tests.support.clock import ManualClock
from tests.support.volume import volume

KEYS = ["a", "b"]
ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


class Lives(RuleBasedStateMachine):
    """Two keyed jobs, three workers on lines that get bad, recovery and people, in any order."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self._mock = mock_aws()
        self._mock.start()
        self.store = Store("moto", boto3.client("dynamodb"), ManualClock(system_clock()))
        self.lines = [LossyClient(self.store.client, times=0) for _ in range(3)]
        self.workers = [self.store.repo(line) for line in self.lines]
        self.jobs: dict[str, Job] = {}
        self.bodies: set[tuple[str, int]] = set()

    def teardown(self) -> None:
        self._mock.stop()

    def learn(self, job: Job) -> None:
        """Take note of a write that was said to be made: the store must say the same, and the attempt must not fall."""
        before = self.jobs.get(job.job_id)
        assert self.store.repo().table.get(job.job_id) == job
        assert before is None or job.attempt >= before.attempt
        self.jobs[job.job_id] = job

    def known(self, key: str) -> Job | None:
        job_id = next((job_id for job_id, job in self.jobs.items() if job.idempotency_key == key), None)
        return self.store.repo().table.get(job_id) if job_id else None

    # --- the world
    @rule(seconds=st.sampled_from([0.001, 1, 61, 2000, 8 * 86_400]))
    def time_passes(self, seconds: float) -> None:
        self.store.clock.advance(seconds)

    @rule(worker=st.integers(0, 2), arrives=st.booleans(), times=st.integers(1, 2))
    def a_line_gets_bad(self, worker: int, arrives: bool, times: int) -> None:
        self.lines[worker].lose_after(0, times=times, arrives=arrives)

    # --- submitters
    @initialize()
    def both_are_submitted(self) -> None:
        for key in KEYS:
            self.submit(0, key, key)

    @rule(worker=st.integers(0, 2), key=st.sampled_from(KEYS))
    def submitted_again(self, worker: int, key: str) -> None:
        self.submit(worker, key, key)

    def submit(self, worker: int, key: str, payload: Any) -> None:
        before = self.known(key)
        job = self.workers[worker].create_job("tasks.work", payload, idempotency_key=key, ttl=60, max_attempts=2)
        open_or_fresh = before is not None and lifecycle.answers_duplicate(before, self.store.clock())
        assert job.created is not open_or_fresh
        if job.created:
            self.learn(job)
        else:
            assert job == before

    # --- workers
    @rule(target=claims, worker=st.integers(0, 2), key=st.sampled_from(KEYS), named=st.booleans())
    def claimed(self, worker: int, key: str, named: bool) -> tuple[int, Job | None]:
        before = self.known(key)
        assert before is not None
        attempt = before.attempt if named else None
        job = self.workers[worker].claim_job(before.job_id, attempt=attempt, worker_id=f"w{worker}")
        assert (job is not None) is (before.status is JobStatus.PENDING)
        if job is not None:
            assert (job.job_id, job.attempt) not in self.bodies, "a body starts at most once per attempt"
            self.bodies.add((job.job_id, job.attempt))
            self.learn(job)
        return worker, job

    @rule(
        claim=claims,
        end=st.sampled_from(["COMPLETED", "FAILED", "CANCELLED", "reschedule", "release"]),
        by_token=st.booleans(),
    )
    def ended(self, claim: tuple[int, Job | None], end: str, by_token: bool) -> None:
        worker, job = claim
        if job is None:
            return
        before = self.store.repo().table.get(job.job_id)
        assert before is not None
        mine = before.status is JobStatus.PROCESSING and before.claim_token == job.claim_token
        repo = self.workers[worker]
        held = repo._claims.get(job.job_id)
        if not by_token and held is not None and held.claim_token != job.claim_token:
            return  # without a token it is the later claim of this worker that would be ended
        try:
            after = self.end(repo, job, end, job.claim_token if by_token else None)
        except ClaimLost:
            assert not mine
            assert self.store.repo().table.get(job.job_id) == before
        else:
            assert mine
            self.learn(after)

    def end(self, repo: JobRepo, job: Job, end: str, token: str | None) -> Job:
        if end == "COMPLETED":
            return repo.update_status(job.job_id, end, result=job.claim_token, token=token)
        if end in ("FAILED", "CANCELLED"):
            return repo.update_status(job.job_id, end, error=f"by {job.claim_token}", token=token)
        if end == "reschedule":
            return repo.reschedule(job.job_id, error=f"by {job.claim_token}", token=token)
        return repo.release(job.job_id, reason=f"by {job.claim_token}", token=token)

    # --- recovery and people
    @rule(
        key=st.sampled_from(KEYS),
        act=st.sampled_from([rescue.orphan_fail, rescue.orphan_retry, rescue.give_up]),
        stale=st.booleans(),
    )
    def rescued(self, key: str, act: Any, stale: bool) -> None:
        before = self.known(key)
        assert before is not None
        read = self.jobs[before.job_id] if stale else before
        wanted = JobStatus.PENDING if act is rescue.give_up else JobStatus.PROCESSING
        if read.status is not wanted:
            return  # recovery does not even try
        after = act(self.store.repo(), read, ORPHANED)
        if after is not None:
            assert before.status is wanted
            self.learn(after)
        else:
            assert self.known(key) == before

    @rule(worker=st.integers(0, 2), key=st.sampled_from(KEYS), ask=st.sampled_from(["retry_job", "cancel_job"]))
    def a_person_acts(self, worker: int, key: str, ask: str) -> None:
        before = self.known(key)
        assert before is not None
        if lifecycle.is_gone(before, self.store.clock()):
            return
        allowed = {"retry_job": [JobStatus.FAILED], "cancel_job": [JobStatus.PENDING, JobStatus.CANCELLED]}[ask]
        try:
            after = getattr(self.workers[worker], ask)(before.job_id)
        except IllegalTransition:
            assert before.status not in allowed
            assert self.known(key) == before
        else:
            assert before.status in allowed
            self.learn(after)

    # --- what is always true
    @invariant()
    def the_table_holds_what_was_said_last_and_every_job_stands_in_its_place(self) -> None:
        items = self.store.items()
        assert set(items) == set(self.jobs)
        for job_id, item in items.items():
            job = self.store.repo().table.get(job_id)
            assert job == self.jobs[job_id]
            assert job is not None
            spot = place(
                job, shards=self.store.settings.index_shards, index_completed=self.store.settings.index_completed
            )
            assert {name: next(iter(item[name].values())) for name in item.keys() - DECODERS.keys()} == {
                name: str(value) for name, value in spot.items()
            }
            assert len(job.history) <= HISTORY_LIMIT
            assert 0 <= job.charged <= job.attempt
            assert job.status.is_open is (job.expires_at == 0)


TestRandomLives = Lives.TestCase
TestRandomLives.settings = settings(
    max_examples=volume(12),
    stateful_step_count=30,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes on moto
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
