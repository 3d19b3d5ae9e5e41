"""Arbitrary jobs and payloads for property tests, and the largest job that there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from jobclaim.jobs import Attempt, Failure, FailureKind, Job, JobStatus, checks
from jobclaim.jobs.durable.reports import MAX_MESSAGE, MAX_STATE, Reports
from jobclaim.jobs.encoding.item import LATEST_MS
from jobclaim.jobs.failures import dead
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.kept import Progress, Release, Step, Wait
from jobclaim.jobs.model import HISTORY_LIMIT, DeadState, Decision
from jobclaim.jobs.protocol import lifecycle, releases
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.protocol.submission import MAX_ENVELOPE, MAX_POLICY
from jobclaim.jobs.repo.keeping import MAX_NAME
from jobclaim.jobs.transitions import Move

LATE = 10**14
"""Epoch milliseconds with one more digit than ours will have for a long time."""

MILLISECONDS = st.integers(min_value=0, max_value=LATEST_MS)
COUNTS = st.integers(min_value=0, max_value=10**6)
IDS = st.text(min_size=1, max_size=30)
WORDS = st.text(max_size=60)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
"""Whatever JSON carries exactly."""

FAILURES = st.builds(
    Failure, kind=st.sampled_from(FailureKind), message=WORDS, exception=WORDS, traceback=WORDS, at=MILLISECONDS
)
ATTEMPTS = st.builds(
    Attempt,
    attempt=COUNTS,
    outcome=st.sampled_from([str(move) for move in Move]),
    worker_id=WORDS,
    claim_token=WORDS,
    claimed_at=MILLISECONDS,
    lease_expires_at=MILLISECONDS,
    ended_at=MILLISECONDS,
    failure=st.none() | FAILURES,
    held=WORDS,
    reason=WORDS,
)
RELEASES = st.builds(Release, held=IDS, reason=WORDS, at=MILLISECONDS, attempt=COUNTS)
STEPS = st.builds(
    Step, name=IDS, function=WORDS, arguments=WORDS, result=JSON, attempt=COUNTS, at=MILLISECONDS, took_ms=COUNTS
)
WAITS = st.builds(
    Wait,
    name=IDS,
    since=MILLISECONDS,
    until=MILLISECONDS,
    resumed_at=MILLISECONDS,
    payload=JSON,
    by=WORDS,
    nonce=WORDS,
    timed_out=st.booleans(),
    announced=st.booleans(),
)
UNITS = st.none() | st.integers(0, 10**9) | st.floats(allow_nan=False, allow_infinity=False)
PROGRESS = st.builds(
    Progress,
    done=UNITS,
    total=UNITS,
    message=WORDS,
    state=IDS,
    meta=JSON,
    attempt=COUNTS,
    at=MILLISECONDS,
    first_done=UNITS,
    first_at=MILLISECONDS,
)
DECISIONS = st.builds(Decision, verb=WORDS, by=WORDS, why=WORDS, at=MILLISECONDS)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "job_id": IDS,
    "task": IDS,
    "queue": IDS,
    "status": st.sampled_from(JobStatus),
    "attempt": COUNTS,
    "charged": COUNTS,
    "max_attempts": COUNTS,
    "payload": JSON,
    "result": JSON,
    "created_at": MILLISECONDS,
    "available_at": MILLISECONDS,
    "claimed_at": MILLISECONDS,
    "lease_expires_at": MILLISECONDS,
    "finished_at": MILLISECONDS,
    "claim_token": WORDS,
    "worker_id": WORDS,
    "celery_task_id": WORDS,
    "failure": st.none() | FAILURES,
    "history": st.lists(ATTEMPTS, max_size=3).map(tuple),
    "idempotency_key": WORDS,
    "idempotency_ttl": st.floats(min_value=0, max_value=4e7),
    "fingerprint": WORDS,
    "submission": WORDS,
    "expires_at": COUNTS,
    "dispatches": COUNTS,
    "dispatched_at": MILLISECONDS,
    "on_orphan": st.sampled_from(["fail", "retry"]),
    "lease_ms": COUNTS,
    "start_by": MILLISECONDS,
    "slot": MILLISECONDS,
    "envelope": WORDS,
    "dead_state": st.sampled_from(["", *map(str, DeadState)]),
    "dead_retries": COUNTS,
    "releases": COUNTS,
    "retry_at": MILLISECONDS,
    "failure_policy": WORDS,
    "decisions": st.lists(DECISIONS, max_size=3).map(tuple),
    "tags": st.lists(WORDS, max_size=3).map(tuple),
    "effects": WORDS,
    "nonce": WORDS,
    "unsent": st.sampled_from([0, 1]),
    "steps": st.lists(STEPS, max_size=3).map(tuple),
    "step_count": COUNTS,
    "waits": st.lists(WAITS, max_size=3).map(tuple),
    "wait_changes": COUNTS,
    "wait_secret": WORDS,
    "waits_for": WORDS,
    "progress": st.none() | PROGRESS,
    "released": st.none() | RELEASES,
    "checkpoint": JSON,
}
"""Every field that is stored."""


def jobs(job_id: st.SearchStrategy[str] = IDS) -> st.SearchStrategy[Job]:
    """Jobs with any fields at all, whether or not a life could lead to them."""
    return st.builds(Job, **{**FIELDS, "job_id": job_id})


def fullest_job(character: str, payload_bytes: int) -> Job:
    """A claimed job with every text as long as the checks let it be, and a full history of the longest failures."""
    text = checks.text(character * checks.MAX_ID, "text")
    token = checks.text(character * checks.MAX_TOKEN, "token", checks.MAX_TOKEN)
    job = Job(
        job_id=text,
        task=text,
        queue=character * 80,
        status=JobStatus.PROCESSING,
        attempt=checks.MAX_COUNT,
        payload="x" * (payload_bytes - 2),
        claim_token=token,
        worker_id=text,
        celery_task_id=text,
        fingerprint=token,
        submission="0" * 12,
        tags=tuple(f"{n:064}" for n in range(checks.MAX_TAGS)),
        idempotency_key=character * checks.MAX_KEY,
        idempotency_ttl=0.1 + 0.2,
        envelope="e" * MAX_ENVELOPE,
        created_at=LATE,
        claimed_at=LATE,
        lease_expires_at=LATE,
        lease_ms=LATE,
        on_orphan="retry",
        charged=checks.MAX_COUNT,
        max_attempts=checks.MAX_COUNT,
        expires_at=LATE,
        finished_at=LATE,
        dead_state=DeadState.SCHEDULED,
        dead_retries=checks.MAX_COUNT,
        releases=checks.MAX_COUNT,
        retry_at=LATE,
        failure_policy='{"critical":true' + " " * (MAX_POLICY - 17) + "}",
    )
    reports = Reports(job, 1)
    reports.tell_state("s" * MAX_STATE, {"current": 1}, LATE)
    job = replace(
        job,
        progress=replace(reports.progress or Progress(), message=character * MAX_MESSAGE),
        steps=(Step(name="s", function="f", arguments="a"),),
        step_count=1,
        waits=(Wait(name=character * MAX_NAME, since=LATE, until=LATE),),
        wait_changes=LATE,
        wait_secret="s" * 32,
        checkpoint=1,
    )
    for _ in range(dead.DECISIONS + 1):
        job = dead.decided(job, "abandon", text, character * 5000, LATE)
    for _ in range(HISTORY_LIMIT + 1):
        job = lifecycle.pending_again(job, Move.ORPHAN_RETRY, longest_failure(character), LATE, LATE, charge=True)
        job = replace(job, status=JobStatus.PROCESSING, start_by=LATE, slot=LATE)
    job = replace(job, released=releases.release_of(job, Held.CONCURRENCY_LIMIT, character * 50_000, LATE))
    return replace(job, effects=f"99:{'f' * 16}", nonce="f" * 8, unsent=1, waits_for=character * MAX_NAME)


def longest_failure(character: str) -> Failure:
    """A failure that says more than can be kept."""
    endless = character * 50_000
    return describe(Failure(kind=FailureKind.CONFIGURATION, exception=endless, message=endless, traceback=endless), 1)
